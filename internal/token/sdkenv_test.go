package token

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
)

// TestRefusedSettingsAreTheSDKs holds the table against the SDK itself: every variable that its source names, with values
// of every shape.
func TestRefusedSettingsAreTheSDKs(t *testing.T) {
	values := []string{
		"", " ", "true", "TRUE", "false", "1", "0", "yes", "-1", "3", "3.5", " 3", "10485760", "10485761", "9223372036854775808", "legacy", "Legacy",
		"standard", "Standard", "adaptive", "auto", "AUTO", "IPv4", "ipv6", " IPv6 ", "IPv5", "preferred", "Preferred", "required", "disabled",
		"when_supported", "When_Required", "user_read_write", "UNRESTRICTED", "in-region", "cross-region", "mobile", "no such value",
	}
	names := sdkVariables(t)
	for _, s := range sdkSettings {
		if !strings.HasPrefix(s.variable, "AWS_ENDPOINT_URL") && !slices.Contains(names, s.variable) {
			t.Errorf("the SDK does not know %s", s.variable)
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL") { // not parsed at the start: TestRefusedEndpoints
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, v := range values {
				t.Setenv(name, v)
				_, err := config.NewEnvConfig()
				got := RefusedSettings(only(name, v))
				if refused := err != nil; refused != (len(got) == 1) {
					t.Errorf("%q: the SDK says %v, we say %v", v, err, got)
				}
			}
		})
	}
}

func TestRefusedEndpoints(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL_STS"} {
		for value, good := range map[string]bool{
			"": true, "http://localhost:4566": true, "https://vpce-1.api.ecr.us-west-2.vpce.amazonaws.com/": true, "http://[::1]:4566": true,
			"http://u:pw%zz@host": false, "localhost:4566": false, "localhost": false, "//host": false, "http://": false, "http://:80": false,
			"ftp://host": false, "http://host:port": false, " http://host": false, "http://ho st": false, "http://host\n": false,
		} {
			refused := RefusedSettings(only(name, value))
			if good != (len(refused) == 0) {
				t.Errorf("%s=%q: got %v", name, value, refused)
			}
			if len(refused) == 1 && (!refused[0].Used || refused[0].Variable != name) {
				t.Errorf("%s=%q: got %+v", name, value, refused[0])
			}
		}
	}
}

func only(name, value string) func(string) string {
	return func(n string) string {
		if n == name {
			return value
		}
		return ""
	}
}

// sdkVariables are the variables that the SDK's source names.
func sdkVariables(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/config").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "env_config.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && strings.HasPrefix(s, "AWS_") {
				names = append(names, s)
			}
		}
		return true
	})
	if len(names) < 30 {
		t.Fatalf("%d variables: the SDK's source has another form", len(names))
	}
	return names
}
