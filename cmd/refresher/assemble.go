package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/ecs"
	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// surroundings is what the process finds out about where it runs.
type surroundings struct {
	task   ecs.Task // zero outside ECS
	region string
	by     string // the variable that gives the region, empty where none does
}

// discover asks ECS who this task is and decides the region: flag > AWS_REGION > AWS_DEFAULT_REGION > task ARN. Where a
// registry has to be derived from the answer it waits for one until ctx ends; else a short silence is accepted.
func discover(ctx context.Context, inv invocation, set settings, log *zap.Logger) (surroundings, error) {
	var s surroundings
	var err error
	if s.region, s.by, err = givenRegion(inv, set); err != nil {
		if needsRegion(set.registries) {
			return s, err
		}
		log.Warn("region ignored, as no registry needs it", zap.Error(err))
	}
	uri := inv.getenv(metadataVariable)
	needed := needsTask(set.registries)
	if uri == "" {
		if needed {
			return s, fmt.Errorf("%s is not set: outside ECS no registry can be derived; name one with --registry ACCOUNT.dkr.ecr.REGION.amazonaws.com", metadataVariable)
		}
		return s, nil
	}
	if !needed {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
	}
	failures := 0
	task, err := ecs.Client{URI: uri}.WaitTask(ctx, func(err error, in time.Duration) {
		if failures++; refresh.PowerOfTen(failures) {
			log.Warn("task metadata not available yet", zap.String("class", string(refresh.Class(err))), zap.Error(err),
				zap.String("cure", fault.CureOf(err)), zap.Int("failures", failures), zap.Duration("retry_in", in))
		}
	})
	if err != nil && needed {
		return s, fmt.Errorf("%w; %s", err, fault.CureOf(err))
	}
	if err != nil {
		log.Warn("task metadata not available: going on without", zap.String("class", string(refresh.Class(err))), zap.Error(err),
			zap.String("cure", fault.CureOf(err)))
		return s, nil
	}
	if s.by != "" && s.region != task.Region {
		log.Warn("the region is not the task's own", zap.String("variable", s.by), zap.String("region", s.region),
			zap.String("task_region", task.Region), zap.String("cure", "remove the variable, unless that region is meant"))
	}
	s.task, s.region = task, cmp.Or(s.region, task.Region)
	return s, nil
}

// givenRegion is the region by flag or variable, and the variable's name; empty where none gives it.
func givenRegion(inv invocation, set settings) (region, by string, err error) {
	if set.region != "" {
		return set.region, "REFRESHER_REGION", nil // or --region; it has been checked
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if v := inv.getenv(name); v != "" {
			if _, err := parseRegion(v); err != nil {
				return "", name, fmt.Errorf("%s: %w", name, err)
			}
			return v, name, nil
		}
	}
	return "", "", nil
}

// needsRegion reports whether the task's region matters: to derive a registry, or to ask STS for a role.
func needsRegion(specs []registry.Spec) bool {
	return needsTask(specs) || slices.ContainsFunc(specs, func(s registry.Spec) bool { return len(s.Identity.Roles) > 0 })
}

const metadataVariable = "ECS_CONTAINER_METADATA_URI_V4"

// namedRegion is the region that is set, empty where none is.
func namedRegion(inv invocation, set settings) string {
	region, _, _ := givenRegion(inv, set)
	return region
}

// rolePartition is the partition of the task role; empty where there is none, or where something else gives the credentials.
func rolePartition(inv invocation, s surroundings) string {
	offered := inv.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "" || inv.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != ""
	switch {
	case roleHidden(inv.environ):
		return ""
	case s.task.ARN == "" && offered: // the task metadata do not answer; the agent sets the region
		return registry.PartitionOf(s.region)
	}
	return registry.PartitionOfARN(s.task.ARN)
}

// roleHidden reports whether the SDK prefers what the environment gives to the task role.
func roleHidden(environ []string) bool {
	return slices.ContainsFunc(environ, func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		return value != "" && slices.Contains(token.HidesTaskRole(), name)
	})
}

// needsTask reports whether a registry can only be known from the task metadata.
func needsTask(specs []registry.Spec) bool {
	for _, s := range specs {
		if s.Host.Name == "" {
			return true
		}
	}
	return len(specs) == 0
}

// resolve completes the registries, in place: none given is the task's own. All must be in the partition of the task role.
func resolve(set settings, s surroundings, partition string) ([]registry.Spec, error) {
	specs := set.registries
	if len(specs) == 0 {
		specs = []registry.Spec{{Name: registry.DefaultName}}
	}
	var errs []error
	for i, spec := range specs {
		var err error
		if specs[i], err = spec.Resolve(s.task.Account, s.region); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	// "default" may turn out to be a registry that is named too.
	return specs, errors.Join(registry.CheckSpecs(specs), registry.CheckPartition(specs, partition))
}

// assembly is the loop with everything that it needs.
type assembly struct {
	loop   *refresh.Loop
	client *token.Client
	specs  []registry.Spec // resolved
	names  []string        // of the registries, as configured
	paths  []string        // of the outputs
	files  []*writer.File  // the outputs
	task   ecs.Task
}

// assemble builds the loop of a command. Nothing runs yet. An error is a wrong setting.
func assemble(ctx context.Context, inv invocation, set settings, log *zap.Logger, adjust func(*refresh.Config)) (assembly, error) {
	around, err := discover(ctx, inv, set, log)
	if err != nil {
		return assembly{}, err
	}
	specs, err := resolve(set, around, rolePartition(inv, around))
	if err != nil {
		return assembly{}, err
	}
	if err := refusedSettings(inv); err != nil {
		return assembly{}, err
	}
	opts := clientOptions(inv, set, cmp.Or(around.region, specs[0].Host.Region), around.by, around.task.ID)
	opts.OnPanic = func(err error, stack []byte) {
		log.Debug("panic in the AWS SDK", zap.Error(err), zap.ByteString("stack", stack))
	}
	client, err := token.New(ctx, opts)
	if err != nil {
		return assembly{}, err
	}
	a := assembly{client: client, task: around.task, specs: specs}
	var hosts []string
	var errs []error
	for _, s := range specs {
		if err := client.Check(token.ScopeOf(s)); err != nil {
			errs = append(errs, fmt.Errorf("registry %s: %w", s.Name, err))
		}
		a.names = append(a.names, s.Name)
		hosts = append(hosts, s.Hosts()...)
	}
	if err := errors.Join(errs...); err != nil {
		return assembly{}, err
	}
	if strings.EqualFold(inv.getenv("AWS_USE_FIPS_ENDPOINT"), "true") && slices.ContainsFunc(specs, func(s registry.Spec) bool { return s.Host.Public }) {
		log.Warn("ECR Public asked at its standard endpoint, as it has no FIPS endpoint", zap.String("variable", "AWS_USE_FIPS_ENDPOINT"))
	}
	cfg := refresh.Config{
		Registries: specs, Source: client, Policy: set.policy, Timeout: set.timeout, Parallel: set.parallel, Log: log,
		VerifyHourly: set.verify == verifyHourly,
	}
	if set.verify != verifyOff {
		cfg.Verifier = client
	}
	if err := oneFileOnce(set.outputs); err != nil {
		return assembly{}, err
	}
	parsing := new(sync.Mutex) // one document at a time is parsed, of all outputs
	for _, o := range set.outputs {
		f := writer.New(writer.Options{Path: o.path, Mode: o.mode, Hosts: hosts, Task: around.task.ARN, Parsing: parsing})
		cfg.Outputs = append(cfg.Outputs, refresh.Output{Name: o.path, File: f, Watch: f.Watch})
		a.paths, a.files = append(a.paths, o.path), append(a.files, f)
	}
	adjust(&cfg)
	a.loop = refresh.New(cfg)
	return a, nil
}

// caBundle is where crypto/x509 finds the machine's roots in our image, and on Debian and its like. SSL_CERT_FILE names another
// file to it, and to us.
const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// clientOptions are those of the client that asks AWS, for the loop and for the doctor alike. by is the variable that gives the
// region, empty where none does.
func clientOptions(inv invocation, set settings, region, by, taskID string) token.Options {
	opts := token.Options{
		Version: buildInfo().version, Region: region, RegionBy: by, AllowInstanceRole: set.allowInstanceRole,
		CABundle: cmp.Or(inv.getenv("SSL_CERT_FILE"), caBundle),
		Timeout:  set.timeout * 4 / 5, // of one step: less than the whole attempt's, so that an error names the step
		MaxConns: set.parallel,
	}
	if taskID != "" {
		opts.SessionName = "ecr-refresher-" + taskID
	}
	return opts
}

// refusedSettings are the variables of the AWS SDK that are used here and have a value that the SDK refuses.
func refusedSettings(inv invocation) error {
	var errs []error
	for _, s := range token.RefusedSettings(inv.getenv) {
		if s.Used {
			errs = append(errs, fmt.Errorf("%s: must be %s", s.Variable, s.Allowed))
		}
	}
	return errors.Join(errs...)
}

// warnEnvironment logs what is odd in the environment, and does not keep the program from working.
func warnEnvironment(inv invocation, log *zap.Logger) {
	for _, s := range token.RefusedSettings(inv.getenv) {
		if !s.Used {
			log.Warn("unused AWS SDK setting ignored, as its value is not valid", zap.String("variable", s.Variable),
				zap.String("cure", "remove it from the container's environment, or set it to "+s.Allowed))
		}
	}
	for _, p := range token.ProxyProblems(inv.getenv) {
		log.Warn("proxy setting without effect", zap.String("variable", p.Variable), zap.String("problem", p.Text), zap.String("cure", p.Fix))
	}
	if inv.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == "" && inv.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") == "" {
		return
	}
	for _, name := range token.HidesTaskRole() {
		if inv.getenv(name) != "" {
			log.Warn("the task role is hidden: the AWS SDK prefers what this variable gives", zap.String("variable", name),
				zap.String("cure", "remove it from the container's environment"))
		}
	}
}

// oneFileOnce refuses two paths to one file, such as the same volume mounted twice or a symbolic link: the outputs would fight each
// other.
func oneFileOnce(outputs []outputSetting) error {
	var errs []error
	for i, a := range outputs {
		for _, b := range outputs[:i] {
			switch {
			case sameFile(a.path, b.path):
				errs = append(errs, fmt.Errorf("--output (REFRESHER_OUTPUTS): %s and %s are one file", b.path, a.path))
			case sameFile(a.path, writer.StatePath(b.path)):
				errs = append(errs, fmt.Errorf("--output (REFRESHER_OUTPUTS): %s is the state file of %s", a.path, b.path))
			case sameFile(b.path, writer.StatePath(a.path)):
				errs = append(errs, fmt.Errorf("--output (REFRESHER_OUTPUTS): %s is the state file of %s", b.path, a.path))
			}
		}
	}
	return errors.Join(errs...)
}

// sameFile reports whether two paths lead to one name in one directory. The file need not exist.
func sameFile(a, b string) bool {
	a, b = followLinks(a), followLinks(b)
	dirA, errA := os.Stat(filepath.Dir(a))
	dirB, errB := os.Stat(filepath.Dir(b))
	return errA == nil && errB == nil && os.SameFile(dirA, dirB) && filepath.Base(a) == filepath.Base(b)
}

// followLinks is the path that a chain of symbolic links ends at, whether there is anything or not.
func followLinks(path string) string {
	for range 40 { // the kernel's own limit
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + "/" + to // not cleaned: the directory may be a link itself
		}
		path = to
	}
	return path
}
