package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func do(t *testing.T, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func request(t *testing.T, method, url, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer c.CloseIdleConnections()
	return do(t, c, r)
}

func TestCredentialsRotate(t *testing.T) {
	s := start(t, Config{CredentialLife: 6 * time.Hour})
	now := s.now()
	first := s.vault.taskCredentials(s.taskRole, now, 6*time.Hour)
	for _, row := range []struct {
		after time.Duration
		same  bool
	}{{time.Minute, true}, {5*time.Hour - 2*time.Second, true}, {5*time.Hour + time.Second, false}} {
		if got := s.vault.taskCredentials(s.taskRole, now.Add(row.after), 6*time.Hour); (got.id == first.id) != row.same {
			t.Errorf("after %v the same key: %v, want %v", row.after, got.id == first.id, row.same)
		}
	}
	before := s.vault.taskCredentials(s.taskRole, now, 6*time.Hour)
	s.ExpireCredentials()
	if s.vault.taskCredentials(s.taskRole, now, 6*time.Hour).id == before.id {
		t.Error("an expired key is given out")
	}
}

func TestCredentialsEndpoint(t *testing.T) {
	s := start(t, Config{Region: "cn-north-1"})
	res, body := request(t, "GET", environ(t, s, "AWS_CONTAINER_CREDENTIALS_FULL_URI"), "")
	var c struct{ RoleArn, AccessKeyId, SecretAccessKey, Token, Expiration string }
	if err := decodeStrict(strings.NewReader(body), &c); err != nil || res.StatusCode != 200 {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	expires, err := time.Parse(time.RFC3339, c.Expiration)
	if d := time.Until(expires); err != nil || d < 5*time.Hour+59*time.Minute || d > 6*time.Hour {
		t.Errorf("Expiration %s (%v)", c.Expiration, err)
	}
	if c.RoleArn != "arn:aws-cn:iam::123456789012:role/sandbox-task" || len(c.AccessKeyId) != 20 || len(c.SecretAccessKey) != 40 || c.Token == "" {
		t.Errorf("RoleArn %s, key id of %d, secret of %d", c.RoleArn, len(c.AccessKeyId), len(c.SecretAccessKey))
	}
	res, body = request(t, "GET", s.URL()+"/v2/credentials/other", "")
	var e struct {
		Code, Message string
		HTTPErrorCode int
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || res.StatusCode != 400 || e.Code == "" || e.HTTPErrorCode != 400 {
		t.Errorf("unknown id: %d %s", res.StatusCode, body)
	}
}

func TestMetadata(t *testing.T) {
	for region, partition := range map[string]string{"us-west-2": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov"} {
		s := start(t, Config{Region: region, Account: "111122223333", ClockOffset: -time.Hour})
		base := environ(t, s, "ECS_CONTAINER_METADATA_URI_V4")
		res, body := request(t, "GET", base+"/task", "")
		var task map[string]any
		if err := json.Unmarshal([]byte(body), &task); err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %v", res.StatusCode, err)
		}
		if want := "arn:" + partition + ":ecs:" + region + ":111122223333:task/sandbox/0123456789abcdef0123456789abcdef"; task["TaskARN"] != want {
			t.Errorf("TaskARN %v, want %s", task["TaskARN"], want)
		}
		if task["LaunchType"] != "FARGATE" || task["AvailabilityZone"] != region+"a" {
			t.Errorf("task = %s", body)
		}
		drift := task["ClockDrift"].(map[string]any)
		if drift["ClockSynchronizationStatus"] != "NOT_SYNCHRONIZED" || drift["ClockErrorBound"].(float64) != 3600_000 {
			t.Errorf("ClockDrift = %v", drift)
		}
		if _, body = request(t, "GET", base, ""); !strings.Contains(body, `"DockerId"`) {
			t.Errorf("container = %s", body)
		}
		if res, _ = request(t, "GET", s.URL()+"/v4/other/task", ""); res.StatusCode != 404 {
			t.Errorf("unknown id: %d", res.StatusCode)
		}
	}
}
