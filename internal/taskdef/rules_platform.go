package taskdef

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// windows says by what a task shows that it is one for Windows, and where that is written. sign is empty
// for one for Linux. What the definition says of its platform decides; only without that do the containers
// have to show it.
func (d *definition) windows() (at, sign string) {
	const family = ".runtimePlatform.operatingSystemFamily"
	for i, v := range d.Volumes {
		if v.FSx != nil { // whatever else it says
			at := fmt.Sprintf(".volumes[%d].fsxWindowsFileServerVolumeConfiguration", i)
			return at, "it has a volume of FSx for Windows"
		}
	}
	switch os := d.RuntimePlatform.OperatingSystemFamily; {
	case strings.HasPrefix(strings.ToUpper(os), "WINDOWS"):
		return family, "its platform is " + os
	case strings.EqualFold(os, "LINUX"):
		return "", ""
	}
	for i, p := range d.PlacementConstraints {
		switch constrainedTo(p.Expression) {
		case "windows":
			return fmt.Sprintf(".placementConstraints[%d].expression", i), "it is placed on Windows only"
		case "linux":
			return "", ""
		}
	}
	for i, v := range d.Volumes {
		if windowsPath(v.Host.SourcePath) {
			return fmt.Sprintf(".volumes[%d].host.sourcePath", i), "it mounts " + v.Host.SourcePath
		}
	}
	for i, k := range d.Containers {
		if at, sign := k.windows(); sign != "" {
			return path(i, at), sign
		}
	}
	return "", ""
}

func (k container) windows() (at, sign string) {
	for _, list := range []struct {
		key    string
		values []string
	}{{"dockerSecurityOptions", k.DockerSecurityOptions}, {"credentialSpecs", k.CredentialSpecs}} {
		for i, v := range list.values {
			if strings.HasPrefix(v, "credentialspec:") {
				return fmt.Sprintf(".%s[%d]", list.key, i), "it has a credential specification of Windows"
			}
		}
	}
	if windowsImage(k.Image) {
		return ".image", "the image " + k.Image + " is for Windows"
	}
	for i, m := range k.MountPoints {
		if windowsPath(m.ContainerPath) {
			at := fmt.Sprintf(".mountPoints[%d].containerPath", i)
			return at, "the path " + m.ContainerPath + " is of Windows"
		}
	}
	if windowsPath(k.WorkingDirectory) {
		return ".workingDirectory", "the path " + k.WorkingDirectory + " is of Windows"
	}
	if windowsUser(k.User) {
		return ".user", "the user " + k.User + " is one of Windows"
	}
	for i, p := range k.Environment {
		if windowsValue.MatchString(p.Value) { // the sign does not quote it: it can be a secret
			return fmt.Sprintf(".environment[%d].value", i), "the value of " + p.Name + " is a path of Windows"
		}
	}
	program := k.Command // of Linux or of Windows: the first word says it
	if len(k.EntryPoint) > 0 {
		program = k.EntryPoint
	}
	var health []string
	if k.HealthCheck != nil {
		health = k.HealthCheck.Command
	}
	for _, words := range []struct {
		at            string
		all, programs []string
	}{
		{".entryPoint", k.EntryPoint, program}, {".command", k.Command, program},
		{".healthCheck.command", health, withoutCMD(health)},
	} {
		switch {
		case len(words.all) == 0:
		case windowsProgram(words.programs):
			return words.at, "it runs " + firstWord(words.programs[0]) + ", a program of Windows"
		case slices.ContainsFunc(words.all, func(w string) bool { return drive.MatchString(w) }):
			return words.at, "a path in it is of Windows"
		}
	}
	return "", ""
}

// constrainedTo reads a placement constraint: windows, linux, or empty where it is about something else.
// With a negation, or with an alternative, nothing sure can be said.
func constrainedTo(expression string) string {
	e := strings.ToLower(expression)
	m := osConstraint.FindStringSubmatch(e)
	if m == nil || unsure.MatchString(e) || strings.Contains(e, "windows") && strings.Contains(e, "linux") {
		return ""
	}
	return m[1]
}

var (
	osConstraint = regexp.MustCompile(`\becs\.os-(?:type|family)\s*(?:==|=~|\bin\b)\s*[\["'.*^(]*(windows|linux)`)
	unsure       = regexp.MustCompile(`\b(?:not|or)\b|\|\||![^=i]`)
)

var drive = regexp.MustCompile(`(?:^|[\s"'=(;,])(?:[A-Za-z]:\\|\\\\\.\\pipe\\)`)

// windowsPath is for a value that is a path and nothing else: C:\data, C:/data, \\.\pipe\docker_engine.
func windowsPath(p string) bool { return drivePath.MatchString(p) }

var drivePath = regexp.MustCompile(`^(?:[A-Za-z]:(?:[\\/]|$)|\\\\)`)

// windowsValue is for a value that can be anything. C:/ and \\ are not enough there: a:/b can be a mapping, and
// a regular expression can begin with two backslashes.
var windowsValue = regexp.MustCompile(`^"?[A-Za-z]:\\`)

// windowsUser reports whether a user is an account that every Windows container has. Its domain may be
// before it, such as in User Manager\ContainerUser.
func windowsUser(user string) bool {
	domain, name, ok := strings.Cut(user, `\`)
	if !ok {
		domain, name = "", user
	}
	return strings.EqualFold(name, "ContainerAdministrator") || strings.EqualFold(name, "ContainerUser") ||
		strings.EqualFold(domain, "NT AUTHORITY")
}

// withoutCMD takes the first word off a health check: CMD-SHELL runs cmd there.
func withoutCMD(command []string) []string {
	if len(command) > 1 && (command[0] == "CMD" || command[0] == "CMD-SHELL") {
		return command[1:]
	}
	return command
}

// windowsProgram reports whether a command line begins with a program that there is on Windows only.
// PowerShell for Linux is called pwsh; a program called cmd can be anything.
func windowsProgram(words []string) bool {
	if len(words) == 0 {
		return false
	}
	line := strings.ToLower(strings.Join(words, " "))
	first := firstWord(line)
	base := first[strings.LastIndexAny(first, `/\`)+1:]
	return base == "powershell" || strings.HasSuffix(base, ".exe") ||
		base == "cmd" && cmdFlag.MatchString(line[len(first):])
}

var cmdFlag = regexp.MustCompile(`^\s+/[csk]\b`)

func firstWord(line string) string {
	for word := range strings.FieldsSeq(line) {
		return word
	}
	return ""
}

// windowsImage reports whether an image is one of Microsoft's for Windows, or has a tag that says so.
func windowsImage(image string) bool {
	image, _, _ = strings.Cut(strings.ToLower(image), "@")
	slash := strings.LastIndex(image, "/")
	name, tag, _ := strings.Cut(image[slash+1:], ":")
	return windowsRepository.MatchString(image[:slash+1]+name) ||
		slices.ContainsFunc(strings.FieldsFunc(tag, separator),
			func(w string) bool { return windowsTag.MatchString(w) })
}

func separator(r rune) bool { return strings.ContainsRune("-_.", r) }

var (
	windowsRepository = regexp.MustCompile(`^(?:docker\.io/|index\.docker\.io/)?` +
		`microsoft/(?:iis|aspnet|wcf|nanoserver|windowsservercore|dotnet-framework|mssql-server-windows)(?:-|$)` +
		`|^mcr\.microsoft\.com/(?:windows|windows-cssc|dotnet/framework)(?:/|$)` +
		`|(?:^|/)(?:windowsservercore|servercore|nanoserver)(?:/|-|$)`)
	windowsTag = regexp.MustCompile(`^(?:windows|servercore|nanoserver|ltsc20\d\d|win(?:1809|20h2|ltsc20\d\d))`)
)
