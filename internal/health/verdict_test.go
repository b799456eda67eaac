package health

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/writer"
)

func TestLive(t *testing.T) {
	for _, test := range []struct {
		late time.Duration
		want []string
	}{
		{0, nil},
		{refresh.Patience - 1, nil},
		{refresh.Patience, nil},
		{refresh.Patience + 1, []string{"the loop hangs: it should have turned 30s ago"}},
		{time.Hour + 300*time.Millisecond, []string{"the loop hangs: it should have turned 1h0m0s ago"}},
	} {
		if d := cmp.Diff(Verdict{test.want == nil, test.want}, Live(refresh.View{Late: test.late})); d != "" {
			t.Errorf("late by %s (-want +got):\n%s", test.late, d)
		}
	}
}

// life is a token in the file that expires after left.
func life(v *refresh.View, left time.Duration) {
	v.Scopes[0].Known[1].Expires = now.Add(left)
}

// everywhere does the same to all outputs.
func everywhere(v *refresh.View, f func(*refresh.OnDisk)) {
	for i := range v.OnDisk {
		f(&v.OnDisk[i])
	}
}

func TestVerdicts(t *testing.T) {
	const contested = primary + ": contested: another program changes our entries again and again (the file was missing); let the other program use a DOCKER_CONFIG of its own, or mount the volume read-only there"
	hidden := func(output, name, how, members string) string {
		return output + ": " + name + " is hidden: " + how + `; remove it from the file; for docker and buildctl alone set "credHelpers": {` + members + "}, which breaks skopeo, podman and buildah"
	}
	const otherMembers = `"` + otherHost + `": "", "` + aliasHost + `": ""`
	for _, test := range []struct {
		name                    string
		break1                  func(v *refresh.View)
		healthy, ready, written []string
	}{
		{"as it should be", func(*refresh.View) {}, nil, nil, nil},

		// What a consumer of the primary output finds.
		{"an earlier token of ours", func(v *refresh.View) { v.OnDisk[0].Sums[taskHost] = sum("old own") }, nil, nil, nil},
		{"a token for a minute and a bit", func(v *refresh.View) { life(v, time.Minute+1) }, nil, nil, nil},
		{
			"a token for a minute", func(v *refresh.View) { life(v, time.Minute); v.OnDisk[1].Sums[taskHost] = sum("old own") },
			[]string{primary + ": default: the token is about to expire, at 2026-07-01T12:01:00Z"},
			[]string{primary + ": default: the token is about to expire, at 2026-07-01T12:01:00Z"},
			[]string{primary + ": default: the token is about to expire, at 2026-07-01T12:01:00Z"},
		},
		{
			"an expired token, with the reason", func(v *refresh.View) {
				life(v, 0)
				v.Scopes[0].Err = denied()
			},
			[]string{primary + ": default: the token expired at 2026-07-01T12:00:00Z; last attempt: access_denied: get an ECR token for us-west-2: not authorized (allow ecr:GetAuthorizationToken)"},
			[]string{
				primary + ": default: the token expired at 2026-07-01T12:00:00Z; last attempt: access_denied: get an ECR token for us-west-2: not authorized (allow ecr:GetAuthorizationToken)",
				second + ": default: the token expired at 2026-07-01T12:00:00Z; last attempt: access_denied: get an ECR token for us-west-2: not authorized (allow ecr:GetAuthorizationToken)",
			},
			[]string{
				primary + ": default: the token expired at 2026-07-01T12:00:00Z; last attempt: access_denied: get an ECR token for us-west-2: not authorized (allow ecr:GetAuthorizationToken)",
				second + ": default: the token expired at 2026-07-01T12:00:00Z; last attempt: access_denied: get an ECR token for us-west-2: not authorized (allow ecr:GetAuthorizationToken)",
			},
		},
		{
			"no entry", func(v *refresh.View) { delete(v.OnDisk[0].Sums, taskHost) },
			[]string{primary + ": default: no entry for " + taskHost},
			[]string{primary + ": default: no entry for " + taskHost},
			[]string{primary + ": default: no entry for " + taskHost},
		},
		{
			"somebody else's entry", func(v *refresh.View) { v.OnDisk[0].Sums[taskHost] = sum("a docker login") },
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
		},
		{
			"another registry's token", func(v *refresh.View) { v.OnDisk[0].Sums[taskHost] = sum("other") },
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's"},
		},
		{
			"an alias without an entry", func(v *refresh.View) { delete(v.OnDisk[0].Sums, aliasHost) },
			[]string{primary + ": " + otherHost + ": no entry for " + aliasHost},
			[]string{primary + ": " + otherHost + ": no entry for " + aliasHost},
			[]string{primary + ": " + otherHost + ": no entry for " + aliasHost},
		},
		{
			"no file, with the reason", func(v *refresh.View) {
				v.OnDisk[0] = refresh.OnDisk{}
				v.Outputs[0].Err = unwritable()
			},
			[]string{
				primary + ": default: the file does not exist", primary + ": " + otherHost + ": the file does not exist",
				primary + ": not written: output_denied: write it: permission denied (mount the volume writable)",
			},
			[]string{
				primary + ": not written: output_denied: write it: permission denied (mount the volume writable)",
				primary + ": default: the file does not exist", primary + ": " + otherHost + ": the file does not exist",
			},
			[]string{
				primary + ": default: the file does not exist", primary + ": " + otherHost + ": the file does not exist",
				primary + ": not written: output_denied: write it: permission denied (mount the volume writable)",
			},
		},
		{
			"a file that cannot be read", func(v *refresh.View) {
				v.Registries = v.Registries[:1]
				v.OnDisk[0] = refresh.OnDisk{Err: &fault.Error{Class: fault.OutputInvalid, Op: "read it", Err: errors.New("no JSON object"), Cure: "delete it"}}
			},
			[]string{primary + ": default: output_invalid: read it: no JSON object (delete it)"},
			[]string{primary + ": default: output_invalid: read it: no JSON object (delete it)"},
			[]string{primary + ": default: output_invalid: read it: no JSON object (delete it)"},
		},
		{
			"a loop that hangs", func(v *refresh.View) { v.Late = 11 * time.Minute },
			[]string{"the loop hangs: it should have turned 11m0s ago"}, []string{"the loop hangs: it should have turned 11m0s ago"}, nil,
		},
		{
			"a reason of several lines", func(v *refresh.View) {
				v.OnDisk[0].Sums[taskHost] = sum("a docker login")
				v.Scopes[0].Err = &fault.Error{Class: fault.Network, Op: "ask", Err: errors.Join(errors.New("one"), errors.New("two"))}
			},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's; last attempt: network: ask: one\\ntwo"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's; last attempt: network: ask: one\\ntwo"},
			[]string{primary + ": default: the entry for " + taskHost + " is not the refresher's; last attempt: network: ask: one\\ntwo"},
		},

		// What never makes ECS replace a task.
		{"renewal fails, the token is valid", func(v *refresh.View) { v.Scopes[0].Err, v.Scopes[0].Failures = denied(), 100 }, nil, nil, nil},
		{"the registry rejects the token", func(v *refresh.View) { v.Registries[0].Accepted, v.Registries[0].Err = refresh.Rejected, denied() }, nil, nil, nil},
		{"the clock is wrong", func(v *refresh.View) { v.Skew = -24 * time.Hour }, nil, nil, nil},
		{
			"an optional registry has nothing", func(v *refresh.View) {
				everywhere(v, func(d *refresh.OnDisk) { delete(d.Sums, "public.ecr.aws") })
				v.Scopes[2].Err = denied()
			}, nil, nil, nil,
		},
		{
			"an optional registry is hidden", func(v *refresh.View) {
				v.OnDisk[0].CredHelpers = map[string]string{"public.ecr.aws": "ecr-login"}
			}, nil, nil, nil,
		},
		{
			"a broken file, which cannot be written for the same reason", func(v *refresh.View) {
				v.Registries = v.Registries[:1]
				v.OnDisk[0].Err, v.Outputs[0].Err = unwritable(), unwritable()
			},
			[]string{primary + ": default: output_denied: write it: permission denied (mount the volume writable)"},
			[]string{primary + ": default: output_denied: write it: permission denied (mount the volume writable)"},
			[]string{primary + ": default: output_denied: write it: permission denied (mount the volume writable)"},
		},
		{
			"the same, and no registry that is not optional", func(v *refresh.View) {
				v.Registries = v.Registries[2:]
				v.OnDisk[0].Err, v.Outputs[0].Err = unwritable(), unwritable()
			},
			nil, []string{primary + ": not written: output_denied: write it: permission denied (mount the volume writable)"}, nil,
		},
		{
			"the primary output is not written but good", func(v *refresh.View) { v.Outputs[0].Err = unwritable() },
			nil, []string{primary + ": not written: output_denied: write it: permission denied (mount the volume writable)"}, nil,
		},
		{
			"the second output is not written but good", func(v *refresh.View) { v.Outputs[1].Err = unwritable() },
			nil, []string{second + ": not written: output_denied: write it: permission denied (mount the volume writable)"}, nil,
		},
		{
			"the second output is missing", func(v *refresh.View) { v.OnDisk[1].View = writer.View{} },
			nil,
			[]string{second + ": default: the file does not exist", second + ": " + otherHost + ": the file does not exist"},
			[]string{second + ": default: the file does not exist", second + ": " + otherHost + ": the file does not exist"},
		},
		{
			"the second output cannot be read", func(v *refresh.View) { v.Registries, v.OnDisk[1].Err = v.Registries[:1], unwritable() },
			nil,
			[]string{second + ": default: output_denied: write it: permission denied (mount the volume writable)"},
			[]string{second + ": default: output_denied: write it: permission denied (mount the volume writable)"},
		},
		{
			"contested", func(v *refresh.View) { v.Outputs[0].Contested, v.Outputs[0].Found = true, "the file was missing" },
			nil, []string{contested}, nil,
		},
		{
			"hidden by credsStore", func(v *refresh.View) { v.OnDisk[0].CredsStore = "desktop" },
			nil,
			[]string{
				hidden(primary, "default", "credsStore sends every host to docker-credential-desktop", `"`+taskHost+`": ""`),
				hidden(primary, otherHost, "credsStore sends every host to docker-credential-desktop", otherMembers),
			}, nil,
		},
		{
			"an alias hidden by credHelpers, in the second output", func(v *refresh.View) {
				v.OnDisk[1].CredHelpers = map[string]string{aliasHost: "pass"}
			},
			nil, []string{hidden(second, otherHost, "credHelpers sends "+aliasHost+" to docker-credential-pass", otherMembers)}, nil,
		},
		{
			"entries that keep programs from reading the second output", func(v *refresh.View) {
				v.OnDisk[1].Obstacles = writer.Obstacles{Broken: []writer.Obstacle{pasted, {Key: "credHelpers", Problem: "p", Readers: "r"}}, BrokenCount: 5}
			},
			nil,
			[]string{
				second + `: auths["https://index.docker.io/v1/"]: its auth is not base64 of USER:PASSWORD; docker does not read the file; ` + refresh.BrokenCure,
				second + ": credHelpers: p; r; " + refresh.BrokenCure,
				second + ": 3 more entries keep programs from reading the file",
			}, nil,
		},
		{
			"a login that somebody may mean", func(v *refresh.View) {
				v.OnDisk[0].Obstacles = writer.Obstacles{Similar: []writer.Obstacle{namespaced}, SimilarCount: 1}
			}, nil, nil, nil,
		},
		{
			"credsStore, with docker's exception for each host", func(v *refresh.View) {
				v.OnDisk[0].CredsStore = "desktop"
				v.OnDisk[0].CredHelpers = map[string]string{taskHost: "", otherHost: "", aliasHost: ""}
			}, nil, nil, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := goodView(t)
			test.break1(&v)
			for _, verdict := range []struct {
				name  string
				judge func(refresh.View) Verdict
				want  []string
			}{{"Healthy", Healthy, test.healthy}, {"Ready", Ready, test.ready}, {"Written", Written, test.written}} {
				if d := cmp.Diff(Verdict{verdict.want == nil, verdict.want}, verdict.judge(v)); d != "" {
					t.Errorf("%s (-want +got):\n%s", verdict.name, d)
				}
			}
		})
	}
}

// A reader who finds the process ready need not ask whether it is healthy.
func TestReadyIsStricterThanHealthy(t *testing.T) {
	v := goodView(t)
	v.Late = time.Hour
	v.OnDisk[0].View = writer.View{}
	ready := map[string]bool{}
	for _, r := range Ready(v).Reasons {
		ready[r] = true
	}
	for _, r := range Healthy(v).Reasons {
		if !ready[r] {
			t.Errorf("a reason against healthy, not against ready: %s", r)
		}
	}
}
