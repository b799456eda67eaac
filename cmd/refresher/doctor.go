package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ecr-refresher/internal/cli"
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

// table describes what doctor has besides the settings of a refresher.
func (s *doctorSettings) table() []cli.Option {
	return []cli.Option{{
		Name: "format", Variable: "REFRESHER_FORMAT", Value: "FORMAT", Default: "table",
		Take: cli.Last(&s.format, cli.OneOf("table", "json")),
		Help: "'table' for people, or 'json'.",
	}, {
		Name: "consumer-uid", Variable: "REFRESHER_CONSUMER_UID", Value: "UID",
		Take: cli.Last(&s.consumerUID, parseUID),
		Help: "The user that a consumer runs as, to see whether it can read the file. Default: any.",
	}}
}

func parseUID(s string) (int, error) {
	if s == "" {
		return -1, nil
	}
	uid, err := strconv.Atoi(s)
	if err != nil || uid < 0 {
		return -1, fmt.Errorf("%q is not a user ID, such as 1000", s)
	}
	return uid, nil
}

// doctorMost is the time of all checks together. ECS starts a container anew that ends after the 60 s or more of its
// restartPolicy's restartAttemptPeriod, and leaves one alone that ends before.
const doctorMost = 50 * time.Second

var errDoctorTime = errors.New("the doctor's time of " + doctorMost.String() + " is up")

// examine is the command doctor.
func examine(ctx context.Context, inv invocation, p parsed) int {
	ctx, cancel := context.WithTimeoutCause(ctx, doctorMost, errDoctorTime)
	defer cancel()
	limitMemory(inv.getenv, readFile)
	findings := doctor.Run(ctx, doctorConfig(inv, p))
	write := doctor.Table
	if p.doctor.format == "json" {
		write = doctor.JSON
	}
	if write(inv.out, findings) != nil || doctor.Failed(findings) {
		return exitFailed
	}
	return exitOK
}

func doctorConfig(inv invocation, p parsed) doctor.Config {
	set := p.settings
	cfg := doctor.Config{
		Environ: inv.environ, Problems: p.doctor.problems, Region: set.region, Registries: set.registries, Wrong: set.registriesWrong,
		AllowInstanceRole: set.allowInstanceRole, ConsumerUID: p.doctor.consumerUID,
		Client: func(ctx context.Context, region, taskID string) (*token.Client, error) {
			if err := refusedSettings(inv); err != nil {
				return nil, err
			}
			_, by, _ := givenRegion(inv, set)
			return token.New(ctx, clientOptions(inv, set, region, by, taskID))
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
	for i := range cfg.Outputs {
		cfg.Outputs[i].Look = a.files[i].Look
	}
	cfg.ConsumerUID = -1 // any
	look := doctor.Watch(cfg)
	return func() []health.Check {
		var checks []health.Check
		for _, f := range look(ctx) {
			checks = append(checks, health.Check{ID: f.ID, Of: f.Of, Status: string(f.Status), Seen: f.Seen, Cure: f.Cure})
		}
		return checks
	}
}
