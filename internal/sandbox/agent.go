package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Where the agent serves; on AWS the first is on 169.254.170.2.
const (
	credentialsPath = "/v2/credentials/"
	metadataPath    = "/v4/"
)

// agentError is how the ECS agent reports: JSON with the status repeated.
func (x *exchange) agentError(status int, code, message string) {
	x.agentJSON(status, map[string]any{"code": code, "message": message, "HTTPErrorCode": status})
}

func (x *exchange) agentJSON(status int, v any) {
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	_ = json.NewEncoder(x.w).Encode(v) // the client may be gone
}

// agentFault answers the faults of the two agent services; true when it did.
func (x *exchange) agentFault() bool {
	x.region = x.s.cfg.Region
	x.who = x.s.taskRole
	kind, done := x.misbehave(x.target(), 0)
	if done {
		return true
	}
	for _, f := range x.s.faults.take(x.target(), afterAuth) {
		kind = f.Kind
	}
	switch kind {
	case Unavailable:
		x.agentError(http.StatusServiceUnavailable, "CredentialsUninitialized", "credentials are not initialized yet")
	case Throttled429:
		x.agentError(http.StatusTooManyRequests, "TooManyRequestsException", "too many requests")
	case ServerError:
		x.agentError(http.StatusInternalServerError, "InternalServerError", "an internal error")
	case BadRequest:
		x.agentError(http.StatusBadRequest, "InvalidRequest", "the request is invalid")
	case AccessDenied:
		x.agentError(http.StatusForbidden, "AccessDenied", "access is denied")
	}
	return kind != ""
}

// credentials serves the task role's credentials.
func (s *Sandbox) credentials(x *exchange, id string) {
	x.service, x.operation = "credentials", "GetCredentials"
	s.journal.count("credentials")
	if x.agentFault() {
		return
	}
	if id != s.credsID {
		x.agentError(http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: ID not found")
		return
	}
	var kind Kind
	for _, f := range s.faults.take(x.target(), onContent) {
		kind = f.Kind
	}
	key := s.vault.taskCredentials(s.taskRole, s.now(), s.settings.values().credentialLife)
	if kind == BornExpired {
		key = s.vault.newKey(s.taskRole, s.now(), -time.Minute)
	}
	out := map[string]string{
		"RoleArn": s.taskRole.roleARN, "AccessKeyId": key.id, "SecretAccessKey": key.secret, "Token": key.session,
		"Expiration": key.expires.Format(time.RFC3339),
	}
	switch kind {
	case NoToken:
		delete(out, "Token")
	case NoExpiry:
		delete(out, "Expiration")
	case Expires1970, Expires2200:
		out["Expiration"] = falseExpiry(kind).Format(time.RFC3339)
	}
	x.agentJSON(http.StatusOK, out)
}

// The metadata documents have the field names of version 4 of the endpoint.
type (
	taskMetadata struct {
		Cluster          string
		TaskARN          string
		Family           string
		Revision         string
		DesiredStatus    string
		KnownStatus      string
		Limits           map[string]float64
		PullStartedAt    time.Time
		PullStoppedAt    time.Time
		AvailabilityZone string
		LaunchType       string
		ServiceName      string
		ClockDrift       clockDrift
		Containers       []containerMetadata
	}
	clockDrift struct {
		ClockErrorBound            float64 // milliseconds
		ReferenceTimestamp         time.Time
		ClockSynchronizationStatus string
	}
	containerMetadata struct {
		DockerId      string
		Name          string
		DockerName    string
		Image         string
		ImageID       string
		Labels        map[string]string
		DesiredStatus string
		KnownStatus   string
		CreatedAt     time.Time
		StartedAt     time.Time
		Type          string
		ContainerARN  string
	}
)

// metadata serves the task metadata endpoint, version 4.
func (s *Sandbox) metadata(x *exchange) {
	x.service, x.operation = "metadata", "GetMetadata"
	s.journal.count("metadata")
	if x.agentFault() {
		return
	}
	switch strings.TrimPrefix(x.r.URL.Path, metadataPath) {
	case s.metaID:
		x.agentJSON(http.StatusOK, s.container())
	case s.metaID + "/task":
		x.agentJSON(http.StatusOK, s.task())
	default:
		x.agentJSON(http.StatusNotFound, "V4 metadata handler: no such endpoint id or path")
	}
}

func (s *Sandbox) arnPrefix() string {
	return "arn:" + s.partition.id + ":ecs:" + s.cfg.Region + ":" + s.cfg.Account + ":"
}

func (s *Sandbox) task() taskMetadata {
	now, offset := s.now(), s.settings.values().offset
	drift := clockDrift{ClockErrorBound: 0.5, ReferenceTimestamp: now.Truncate(time.Second), ClockSynchronizationStatus: "SYNCHRONIZED"}
	if off := offset.Abs(); off > time.Second {
		drift.ClockErrorBound = float64(off.Milliseconds())
		drift.ClockSynchronizationStatus = "NOT_SYNCHRONIZED"
	}
	c := s.container()
	return taskMetadata{
		Cluster: s.arnPrefix() + "cluster/sandbox", TaskARN: s.arnPrefix() + "task/sandbox/" + s.cfg.TaskID,
		Family: "sandbox", Revision: "1", DesiredStatus: "RUNNING", KnownStatus: "RUNNING",
		Limits: map[string]float64{"CPU": 0.25, "Memory": 512}, PullStartedAt: c.CreatedAt, PullStoppedAt: c.CreatedAt,
		AvailabilityZone: s.cfg.Region + "a", LaunchType: "FARGATE", ServiceName: "sandbox", ClockDrift: drift,
		Containers: []containerMetadata{c},
	}
}

func (s *Sandbox) container() containerMetadata {
	started := s.now().Add(-time.Minute).Truncate(time.Second)
	return containerMetadata{
		DockerId: s.metaID, Name: "refresher", DockerName: "refresher", Image: "refresher:sandbox", ImageID: "sha256:" + strings.Repeat("0", 64),
		Labels: map[string]string{
			"com.amazonaws.ecs.cluster": s.arnPrefix() + "cluster/sandbox", "com.amazonaws.ecs.container-name": "refresher",
			"com.amazonaws.ecs.task-arn": s.arnPrefix() + "task/sandbox/" + s.cfg.TaskID, "com.amazonaws.ecs.task-definition-family": "sandbox",
			"com.amazonaws.ecs.task-definition-version": "1",
		},
		DesiredStatus: "RUNNING", KnownStatus: "RUNNING", CreatedAt: started, StartedAt: started, Type: "NORMAL",
		ContainerARN: s.arnPrefix() + "container/sandbox/" + s.cfg.TaskID + "/00000000-0000-4000-8000-000000000001",
	}
}
