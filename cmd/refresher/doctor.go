package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ecr-refresher/internal/doctor"
	"ecr-refresher/internal/ecs"
	"ecr-refresher/internal/health"
	"ecr-refresher/internal/healthcheck"
	"ecr-refresher/internal/token"
)

// doctorSettings are those of the command doctor alone.
type doctorSettings struct {
	format      string
	consumerUID int      // negative: any
	problems    []string // of the environment: not a wrong call, but the first finding
}

// parseDoctor takes a wrong environment as something to report. What is wrong on the command line itself is a wrong call.
func parseDoctor(inv invocation, g grammar, problems []string) (parsed, string, error) {
	const command = "doctor"
	p := parsed{doctor: doctorSettings{consumerUID: -1}}
	var wrong []string
	var err error
	if p.doctor.format, err = oneOf(g.Doctor.Format, "table", "json"); err != nil {
		wrong = append(wrong, "--format (REFRESHER_FORMAT): "+err.Error())
	}
	if uid := g.Doctor.ConsumerUID; uid != "" {
		if p.doctor.consumerUID, err = strconv.Atoi(uid); err != nil || p.doctor.consumerUID < 0 {
			wrong = append(wrong, fmt.Sprintf("--consumer-uid (REFRESHER_CONSUMER_UID): %q is no number of a user, such as 1000", uid))
		}
	}
	var more []string
	p.settings, more = g.Doctor.settings(defaultDeadline)
	p.doctor.problems = append(problems, more...)
	bare, _, _, err := read(invocation{out: inv.out, err: inv.err}, inv.args)
	if err != nil { // a flag that does not exist: told with all the rest
		return parsed{}, command, &usageError{append(wrong, p.doctor.problems...)}
	}
	_, typed := bare.Doctor.settings(defaultDeadline)
	if wrong = append(wrong, typed...); len(wrong) > 0 {
		return parsed{}, command, &usageError{wrong}
	}
	return p, command, nil
}

// doctorMost is the time of all checks together. ECS starts a container anew that ends after the 60 s or more of its
// restartPolicy's restartAttemptPeriod, and leaves one alone that ends before.
const doctorMost = 50 * time.Second

var errDoctorTime = errors.New("the doctor's time of " + doctorMost.String() + " is up")

// examine is the command doctor.
func examine(ctx context.Context, inv invocation, cli parsed) int {
	ctx, cancel := context.WithTimeoutCause(ctx, doctorMost, errDoctorTime)
	defer cancel()
	findings := doctor.Run(ctx, doctorConfig(inv, cli))
	write := doctor.Table
	if cli.doctor.format == "json" {
		write = doctor.JSON
	}
	if err := write(inv.out, findings); err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	if doctor.Failed(findings) {
		return exitFailed
	}
	return exitOK
}

func doctorConfig(inv invocation, cli parsed) doctor.Config {
	set := cli.settings
	cfg := doctor.Config{
		Environ: inv.environ, Problems: cli.doctor.problems, Region: set.region, Registries: set.registries,
		AllowInstanceRole: set.allowInstanceRole, ConsumerUID: cli.doctor.consumerUID,
		Client: func(ctx context.Context, region, taskID string) (*token.Client, error) {
			return newClient(ctx, set, region, taskID)
		},
	}
	for _, o := range set.outputs {
		cfg.Outputs = append(cfg.Outputs, doctor.Output{Path: o.path, Mode: o.mode})
	}
	if set.listen != "" {
		cfg.Listen, cfg.StatusURL = set.listen, "http://"+healthcheck.Local(set.listen)+"/status"
	}
	if uri := inv.getenv(metadataVariable); uri != "" {
		cfg.Task = func(ctx context.Context) (doctor.Task, error) {
			t, err := ecs.Client{URI: uri}.Task(ctx)
			return doctor.Task{
				ARN: t.ARN, ID: t.ID, Region: t.Region, Account: t.Account, Cluster: t.Cluster, LaunchType: t.LaunchType,
				ClockStatus: t.ClockDrift.Status, ClockBound: time.Duration(t.ClockDrift.ErrorBoundMillis * float64(time.Millisecond)),
			}, err
		}
	}
	return cfg
}

// cheapChecks are those of the doctor that /status carries: no network, nothing written.
func cheapChecks(ctx context.Context, inv invocation, set settings, a assembly) func() []health.Check {
	set.registries = a.specs
	cfg := doctorConfig(inv, parsed{settings: set})
	look := doctor.Watch(cfg)
	return func() []health.Check {
		var checks []health.Check
		for _, f := range look(ctx) {
			checks = append(checks, health.Check{ID: f.ID, Of: f.Of, Status: string(f.Status), Seen: f.Seen, Cure: f.Cure})
		}
		return checks
	}
}
