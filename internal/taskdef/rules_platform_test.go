package taskdef

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each row is a definition, and where it shows that it is for Windows; empty for one for Linux.
func TestPlatformRules(t *testing.T) {
	k := func(s string) string {
		return `{"containerDefinitions":[{"name":"a","image":"i:1"},{"name":"app",` + s + `}]}`
	}
	image := func(s string) string { return k(`"image":"` + s + `"`) }
	const at = ".containerDefinitions[1]"
	constraint := func(e string) string {
		return `{"placementConstraints":[{"type":"memberOf","expression":"` + e + `"}],"containerDefinitions":[{"name":"app"}]}`
	}
	const placed = ".placementConstraints[0].expression"
	for _, row := range []struct{ name, doc, want string }{
		// it says so
		{"it says so", `{"runtimePlatform":{"operatingSystemFamily":"WINDOWS_SERVER_2022_CORE"}}`, ".runtimePlatform.operatingSystemFamily"},
		{"it says so in small letters", `{"runtimePlatform":{"operatingSystemFamily":"windows_server_2019_full"}}`, ".runtimePlatform.operatingSystemFamily"},
		{"it says Linux, whatever it runs", `{"runtimePlatform":{"operatingSystemFamily":"LINUX"},"containerDefinitions":[{"image":"mcr.microsoft.com/windows/nanoserver","command":["powershell"]}]}`, ""},
		{"it says the processor only", `{"runtimePlatform":{"cpuArchitecture":"X86_64"},"containerDefinitions":[{"entryPoint":["powershell"]}]}`, ".containerDefinitions[0].entryPoint"},
		{"nothing", k(`"image":"nginx:1"`), ""},

		// where it is placed
		{"placed on Windows", constraint("attribute:ecs.os-type == windows"), placed},
		{"placed on Windows, by family", constraint("attribute:ecs.os-family == WINDOWS_SERVER_2019_FULL"), placed},
		{"placed on Windows, by pattern", constraint("attribute:ecs.os-family =~ WINDOWS.*"), placed},
		{"placed on Windows, by a list", constraint("attribute:ecs.os-family in [WINDOWS_SERVER_2019_FULL, WINDOWS_SERVER_2022_CORE]"), placed},
		{"placed on Windows and more", constraint("attribute:ecs.instance-type =~ m5.* and attribute:ecs.os-type==windows"), placed},
		{"placed on Linux", strings.Replace(constraint("attribute:ecs.os-type == linux"), `"app"`, `"app","entryPoint":["powershell"]`, 1), ""},
		{"not placed on Windows", constraint("attribute:ecs.os-type != windows"), ""},
		{"not placed on Windows, by not", constraint("not(attribute:ecs.os-type == windows)"), ""},
		{"placed on either", constraint("attribute:ecs.os-type in [linux, windows]"), ""},
		{"placed on either, Windows first", constraint("attribute:ecs.os-type in [windows, linux]"), ""},
		{"placed on either, by or", constraint("attribute:ecs.os-type == windows or attribute:ecs.os-type == linux"), ""},
		{"placed by something else", constraint("attribute:team == windows"), ""},

		// its images
		{"servercore", image("mcr.microsoft.com/windows/servercore/iis"), at + ".image"},
		{"servercore with a tag", image("mcr.microsoft.com/windows/servercore:ltsc2022"), at + ".image"},
		{"nanoserver", image("mcr.microsoft.com/windows/nanoserver:1809"), at + ".image"},
		{"windows", image("mcr.microsoft.com/windows:20H2"), at + ".image"},
		{"the server", image("mcr.microsoft.com/windows/server:ltsc2022"), at + ".image"},
		{".NET Framework", image("mcr.microsoft.com/dotnet/framework/aspnet:4.8"), at + ".image"},
		{".NET on nanoserver", image("mcr.microsoft.com/dotnet/aspnet:8.0-nanoserver-1809"), at + ".image"},
		{".NET on servercore", image("mcr.microsoft.com/dotnet/runtime:8.0-windowsservercore-ltsc2022"), at + ".image"},
		{"PowerShell on nanoserver", image("mcr.microsoft.com/powershell:lts-nanoserver-1809"), at + ".image"},
		{"IIS", image("microsoft/iis"), at + ".image"},
		{"IIS in full", image("docker.io/microsoft/iis:latest"), at + ".image"},
		{"nanoserver of old", image("microsoft/nanoserver"), at + ".image"},
		{"servercore of old", image("microsoft/windowsservercore:1803"), at + ".image"},
		{".NET Framework of old", image("microsoft/dotnet-framework:4.7.2"), at + ".image"},
		{"SQL Server of old", image("microsoft/mssql-server-windows-developer"), at + ".image"},
		{"a tag of Windows", image("golang:1.21-windowsservercore-ltsc2022"), at + ".image"},
		{"a tag and a registry with a port", image("registry:5000/team/app:1.0-ltsc2019"), at + ".image"},
		{"Fluent Bit", image("public.ecr.aws/aws-observability/aws-for-fluent-bit:windowsservercore-latest"), at + ".image"},
		{"an agent", image("public.ecr.aws/datadog/agent:7-servercore"), at + ".image"},
		{"a copy in ECR", image("123456789012.dkr.ecr.us-west-2.amazonaws.com/nanoserver:1"), at + ".image"},
		{"a digest", image("mcr.microsoft.com/windows/nanoserver@sha256:0"), at + ".image"},
		{"a copy by its digest", image("registry.example.com/nanoserver@sha256:0"), at + ".image"},
		{"a tag and a digest", image("app:windows-amd64@sha256:0"), at + ".image"},
		{"PowerShell for Linux", image("mcr.microsoft.com/powershell:lts-alpine-3.20"), ""},
		{"PowerShell", image("mcr.microsoft.com/powershell"), ""},
		{".NET for Linux", image("mcr.microsoft.com/dotnet/aspnet:8.0-alpine"), ""},
		{"ASP.NET Core of old", image("microsoft/aspnetcore:2.0"), ""},
		{"SQL Server for Linux", image("mcr.microsoft.com/mssql/server:2022-latest"), ""},
		{"Azure CLI", image("mcr.microsoft.com/azure-cli"), ""},
		{"a compiler for Windows", image("ghcr.io/cross-rs/x86_64-pc-windows-gnu:main"), ""},
		{"Windows in a virtual machine", image("dockurr/windows:4"), ""},
		{"a team called iis", image("registry.example.com/iis/app:1"), ""},
		{"winning", image("app:winner"), ""},

		// its paths
		{"a mount point", k(`"mountPoints":[{"containerPath":"C:\\data"}]`), at + ".mountPoints[0].containerPath"},
		{"a mount point with a slash", k(`"mountPoints":[{"containerPath":"c:/data/"}]`), at + ".mountPoints[0].containerPath"},
		{"a drive", k(`"mountPoints":[{"containerPath":"D:"}]`), at + ".mountPoints[0].containerPath"},
		{"a pipe", k(`"mountPoints":[{"containerPath":"\\\\.\\pipe\\docker_engine"}]`), at + ".mountPoints[0].containerPath"},
		{"a working directory", k(`"workingDirectory":"C:\\app"`), at + ".workingDirectory"},
		{"a directory of the host", `{"volumes":[{"name":"a"},{"name":"b","host":{"sourcePath":"C:\\data"}}],"containerDefinitions":[{"name":"app"}]}`, ".volumes[1].host.sourcePath"},
		{"a path in a command", k(`"command":["New-Item -Path C:\\inetpub\\wwwroot\\index.html"]`), at + ".command"},
		{"a path in quotes", k(`"command":["type","\"D:\\a\""]`), at + ".command"},
		{"a path in an entry point", k(`"entryPoint":["C:\\app\\run"]`), at + ".entryPoint"},
		{"a path in a health check", k(`"healthCheck":{"command":["CMD","C:\\check"]}`), at + ".healthCheck.command"},
		{"a Linux path", k(`"workingDirectory":"/c/app","mountPoints":[{"containerPath":"/C:/x"}]`), ""},
		{"an image with a port in a command", k(`"command":["pull","registry:5000/x","http://a:80/b","s3:\\/x"]`), ""},
		{"a regular expression", k(`"command":["grep","[a-z]:\\d+"]`), ""},

		{"a path in a variable", k(`"environment":[{"name":"A","value":"1"},{"name":"LOGS","value":"C:\\logs"}]`), at + ".environment[1].value"},
		{"a list of paths in a variable", k(`"environment":[{"name":"PATH","value":"c:\\a;D:\\b"}]`), at + ".environment[0].value"},
		{"a path in quotes in a variable", k(`"environment":[{"name":"A","value":"\"C:\\Program Files\\a\""}]`), at + ".environment[0].value"},
		{"a path with a slash in a variable can be a mapping", k(`"environment":[{"name":"A","value":"a:/b"}]`), ""},
		{"a regular expression in a variable", k(`"environment":[{"name":"A","value":"\\\\d+"},{"name":"B","value":"^[a-z]:\\w"}]`), ""},
		{"a URL in a variable", k(`"environment":[{"name":"A","value":"http://a:80/b"},{"name":"B","value":"abc:\\d"}]`), ""},
		{"a path in a variable on Linux", strings.Replace(k(`"user":"ContainerUser","environment":[{"name":"A","value":"C:\\a"}]`), "{", `{"runtimePlatform":{"operatingSystemFamily":"LINUX"},`, 1), ""},

		// its user
		{"the administrator", k(`"user":"ContainerAdministrator"`), at + ".user"},
		{"the user", k(`"user":"ContainerUser"`), at + ".user"},
		{"the user in small letters", k(`"user":"containeruser"`), at + ".user"},
		{"the user in capitals", k(`"user":"CONTAINERADMINISTRATOR"`), at + ".user"},
		{"the user with its domain", k(`"user":"User Manager\\ContainerUser"`), at + ".user"},
		{"the system", k(`"user":"NT AUTHORITY\\SYSTEM"`), at + ".user"},
		{"a user of Linux", k(`"user":"container"`), ""},
		{"a user and a group", k(`"user":"1000:1000"`), ""},

		// its programs
		{"powershell", k(`"entryPoint":["powershell","-Command"]`), at + ".entryPoint"},
		{"Powershell", k(`"entryPoint":["Powershell","-Command"]`), at + ".entryPoint"},
		{"powershell.exe", k(`"command":["powershell.exe","-File","x.ps1"]`), at + ".command"},
		{"powershell in one word", k(`"command":["powershell -c ls"]`), at + ".command"},
		{"cmd", k(`"command":["cmd","/c","dir"]`), at + ".command"},
		{"cmd /S /C", k(`"entryPoint":["cmd","/S","/C"]`), at + ".entryPoint"},
		{"cmd.exe", k(`"entryPoint":["cmd.exe"]`), at + ".entryPoint"},
		{"a program of Windows", k(`"command":["ping.exe","-t","localhost"]`), at + ".command"},
		{"powershell in a health check", k(`"healthCheck":{"command":["CMD-SHELL","powershell -c 'exit 0'"]}`), at + ".healthCheck.command"},
		{"powershell in a health check without CMD", k(`"healthCheck":{"command":["powershell","-c","exit 0"]}`), at + ".healthCheck.command"},
		{"pwsh", k(`"entryPoint":["pwsh","-Command"],"command":["Get-Date"]`), ""},
		{"pwsh by its path", k(`"entryPoint":["/usr/bin/pwsh"]`), ""},
		{"a program called cmd", k(`"command":["cmd"]`), ""},
		{"a program called cmd, with a flag", k(`"command":["/app/cmd","--config=/c"]`), ""},
		{"an argument", k(`"entryPoint":["sh","-c"],"command":["echo powershell"]`), ""},
		{"a program of Windows as an argument", k(`"command":["mono","app.exe"]`), ""},
		{"a shell", k(`"command":["sh","-c","true"],"healthCheck":{"command":["CMD-SHELL","curl -f localhost || exit 1"]}`), ""},
		{"a health check of nothing", k(`"healthCheck":{"command":["CMD-SHELL"]}`), ""},
		{"empty words", k(`"command":[""],"entryPoint":[]`), ""},

		// its credentials
		{"a credential specification", k(`"dockerSecurityOptions":["credentialspec:file://gmsa.json"]`), at + ".dockerSecurityOptions[0]"},
		{"the same in its own key", k(`"credentialSpecs":["credentialspec:arn:aws:s3:::b/gmsa.json"]`), at + ".credentialSpecs[0]"},
		{"without a domain, as Linux has it too", k(`"credentialSpecs":["credentialspecdomainless:arn:aws:s3:::b/gmsa.json"]`), ""},
		{"another security option", k(`"dockerSecurityOptions":["no-new-privileges:true","label:type:x"]`), ""},

		{"FSx for Windows", `{"volumes":[{"name":"f","fsxWindowsFileServerVolumeConfiguration":{}}]}`, ".volumes[0].fsxWindowsFileServerVolumeConfiguration"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var d definition
			if err := json.Unmarshal([]byte(row.doc), &d); err != nil {
				t.Fatal(err)
			}
			if at, sign := d.windows(); at != row.want || (sign == "") != (at == "") {
				t.Errorf("%q %q, want %q", at, sign, row.want)
			}
		})
	}
}

// inject and --check hold the same of a task for Windows.
func TestPlatformIsRefused(t *testing.T) {
	const silent = `{"family":"f","networkMode":"awsvpc","requiresCompatibilities":["EC2"],"cpu":"256","memory":"2048","taskRoleArn":"arn:aws:iam::123456789012:role/t",
		"containerDefinitions":[{"name":"app","image":"mcr.microsoft.com/windows/servercore/iis","entryPoint":["powershell","-Command"],"memory":512}]}`
	r := refusal(t, []byte(silent), Options{Image: image})
	if len(r) != 1 || !strings.Contains(r[0].What, "this is a task for Windows (the image mcr.microsoft.com/windows/servercore/iis is for Windows)") || !strings.Contains(r[0].Cure, `"LINUX"`) {
		t.Errorf("%q", r)
	}
	compare(t, []byte(silent), "fail .containerDefinitions[0].image", "fail .containerDefinitions")
	linux := strings.Replace(silent, `"memory":"2048"`, `"memory":"2048","runtimePlatform":{"operatingSystemFamily":"LINUX"}`, 1)
	if r := refusal(t, []byte(linux), Options{Image: image}); r != nil {
		t.Errorf("it says Linux: %q", r)
	}
	run(t, "taskdef-ec2.json", "paths of Windows are not judged as those of Linux", []change{{".runtimePlatform", gone{}}, {".volumes[2]", map[string]any{"name": "d"}},
		{app + ".mountPoints[2]", map[string]any{"sourceVolume": "d", "containerPath": `C:\data`}}}, []string{"fail " + app + ".mountPoints[2].containerPath"})
}
