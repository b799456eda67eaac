// Command naive is the yardstick: the sidecar as most people would write it in an afternoon, with the libraries that most
// people take, and nothing done badly. It keeps a docker config.json logged in to ECR, renews every 6 hours, and serves
// Prometheus metrics and a health check.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

var (
	listen     = flag.String("listen", ":9327", "where to serve /metrics and /healthz")
	output     = flag.String("output", "/run/ecr/config.json", "the docker config to keep")
	registries = flag.String("registries", "", "hosts, separated by commas; default: the account's own")
	check      = flag.Bool("healthcheck", false, "ask a running one for its health")

	refreshes = promauto.NewCounterVec(prometheus.CounterOpts{Name: "naive_refresh_total", Help: "Attempts to renew."}, []string{"registry", "status"})
	lastGood  = promauto.NewGaugeVec(prometheus.GaugeOpts{Name: "naive_last_success_timestamp_seconds", Help: "Last renewal."}, []string{"registry"})
	expiry    = promauto.NewGaugeVec(prometheus.GaugeOpts{Name: "naive_token_expiry_timestamp_seconds", Help: "End of the token."}, []string{"registry"})
	duration  = promauto.NewHistogramVec(prometheus.HistogramOpts{Name: "naive_refresh_duration_seconds", Help: "Time to renew."}, []string{"registry"})

	expires atomic.Int64 // of the token, in Unix seconds
)

func main() {
	flag.Parse()
	if *check {
		os.Exit(healthcheck())
	}
	log := zap.Must(zap.NewProduction())
	defer func() { _ = log.Sync() }()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal("load AWS config", zap.Error(err))
	}
	client := ecr.NewFromConfig(cfg)

	http.Handle("/metrics", promhttp.Handler())
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Unix() >= expires.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal("serve", zap.Error(err))
		}
	}()

	ticker := time.NewTicker(6 * time.Hour)
	defer ticker.Stop()
	for {
		if err := refresh(ctx, client); err != nil {
			log.Error("refresh", zap.Error(err))
		} else {
			log.Info("refreshed", zap.Time("expires", time.Unix(expires.Load(), 0)))
		}
		select {
		case <-ctx.Done():
			_ = server.Shutdown(context.WithoutCancel(ctx))
			return
		case <-ticker.C:
		}
	}
}

// refresh asks for a token and writes it for every registry.
func refresh(ctx context.Context, client *ecr.Client) error {
	start := time.Now()
	out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err == nil && len(out.AuthorizationData) == 0 {
		err = errors.New("no authorization data")
	}
	if err != nil {
		refreshes.WithLabelValues("", "error").Inc()
		return err
	}
	data := out.AuthorizationData[0]
	hosts := []string{strings.TrimPrefix(aws.ToString(data.ProxyEndpoint), "https://")}
	if *registries != "" {
		hosts = strings.Split(*registries, ",")
	}
	auths := map[string]map[string]string{}
	for _, host := range hosts {
		auths[host] = map[string]string{"auth": aws.ToString(data.AuthorizationToken)}
	}
	if err := write(*output, map[string]any{"auths": auths}); err != nil {
		return err
	}
	expires.Store(data.ExpiresAt.Unix())
	for _, host := range hosts {
		refreshes.WithLabelValues(host, "success").Inc()
		lastGood.WithLabelValues(host).SetToCurrentTime()
		expiry.WithLabelValues(host).Set(float64(data.ExpiresAt.Unix()))
		duration.WithLabelValues(host).Observe(time.Since(start).Seconds())
	}
	return nil
}

// write replaces a file: temporary file, fsync, rename.
func write(path string, doc any) error {
	content, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func healthcheck() int {
	client := http.Client{Timeout: 4 * time.Second}
	res, err := client.Get("http://" + *listen + "/healthz")
	if err != nil {
		return 1
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}
