// Refresher keeps the other containers of an Amazon ECS task logged in to ECR.
//
// It obtains authorization tokens with the task role, keeps them in a docker config.json on a volume that the containers
// share, renews them long before they expire, and tells the truth about that file through metrics and health.
//
//	refresher [run]        keep the file good until SIGTERM; SIGHUP renews everything now
//	refresher once         write the file once and end: the init container of a task
//	refresher healthcheck  exit 0 where a consumer finds valid tokens: the health check of the ECS container
//	refresher doctor       look at everything that goes wrong in the field, and name the cures
//	refresher inject       add the sidecar to a task definition, or check one that has it
//	refresher policy       print the least-privilege IAM policies for some registries
//	refresher version      print the version
//
// Exit status: 0 asked to stop or done, 1 failed, 2 called wrongly.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ecr-refresher/internal/signals"
	"ecr-refresher/internal/token"
)

func main() {
	hide() // before any secret is here but those of the environment
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	inv := invocation{
		args:    os.Args[1:],
		environ: os.Environ(),
		in:      os.Stdin,
		out:     os.Stdout,
		err:     os.Stderr,
		hup:     signals.HUP,
	}
	forSDK()
	code := run(ctx, inv)
	stop()
	os.Exit(code)
}

// forSDK prepares the process for the AWS SDK. The SDK parses all its variables itself and fails on a wrong one, even one that this
// program does not use: those are removed, and the commands warn about them. A credential_process inherits os.Stderr, and its messages
// may hold secrets: os.Stderr becomes /dev/null.
func forSDK() {
	for _, s := range token.RefusedSettings(os.Getenv) {
		if !s.Used {
			_ = os.Unsetenv(s.Variable)
		}
	}
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
}
