// Command roles is the straightforward program for many roles: it assumes each, asks for a token with it, and writes one
// docker config.json.
//
//	roles [-at-once] OUTPUT ROLE_ARN=HOST…
//
// One role after another, or a goroutine for each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	atOnce := flag.Bool("at-once", false, "a goroutine for each role")
	flag.Parse()
	output, pairs := flag.Arg(0), flag.Args()[1:]
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	var mu sync.Mutex
	auths := map[string]map[string]string{}
	one := func(pair string) {
		role, host, _ := strings.Cut(pair, "=")
		auth, err := token(ctx, cfg, role)
		if err != nil {
			log.Fatal(role, ": ", err)
		}
		mu.Lock()
		defer mu.Unlock()
		auths[host] = map[string]string{"auth": auth}
	}
	var wg sync.WaitGroup
	for _, pair := range pairs {
		if *atOnce {
			wg.Go(func() { one(pair) })
		} else {
			one(pair)
		}
	}
	wg.Wait()
	if err := write(output, map[string]any{"auths": auths}); err != nil {
		log.Fatal(err)
	}
}

// token asks for a token with an assumed role.
func token(ctx context.Context, cfg aws.Config, role string) (string, error) {
	assumed := cfg.Copy()
	assumed.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role))
	out, err := ecr.NewFromConfig(assumed).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return "", err
	}
	if len(out.AuthorizationData) == 0 {
		return "", errors.New("no authorization data")
	}
	return aws.ToString(out.AuthorizationData[0].AuthorizationToken), nil
}

func write(path string, doc any) error {
	content, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return err
	}
	tmp, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
