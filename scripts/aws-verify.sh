#!/usr/bin/env bash
# aws-verify settles on real AWS what could not be verified without an account, and writes a report to paste into an issue.
#
# THIS SCRIPT HAS NEVER RUN ON AWS: it was written without an account, and run only against stand-ins of aws, docker and curl.
# Read it before you run it, take an account in which nothing else matters, and report what was wrong with it.
#
#   make aws-verify                       shows the plan and asks
#   scripts/aws-verify.sh --plan          shows the plan and ends
#
# Environment: AWS_REGION (or your profile's), SUBNETS (comma-separated; default: the default VPC's), SECURITY_GROUP
# (default: that VPC's), SESSION_SECONDS (900, the least that STS takes). It needs AWS CLI v2, docker, jq, curl, go.
#
# It never runs in CI. No token or key is ever an argument of a process, in the report, or outside a directory that is deleted.
set -euo pipefail
umask 077
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "aws-verify: $*"; exit 1; }

# --- what has to be there -------------------------------------------------------------------------------------------------

plan_only=
case "${1-}" in
--plan) plan_only=1 ;;
'') ;;
*) die "unknown argument $1; there is --plan" ;;
esac
[[ -z ${CI-} ]] || die "CI is set: this is for a person with an account"

missing=()
for program in aws docker jq curl go make; do
	command -v "$program" >/dev/null || missing+=("$program")
done
((${#missing[@]} == 0)) || die "not installed: ${missing[*]}"
[[ $(aws --version 2>&1) == aws-cli/2.* ]] || die "AWS CLI v2 is needed, this is: $(aws --version 2>&1)"
date -u -d 2026-01-01T00:00:00+01:00 +%s >/dev/null 2>&1 || die "GNU date is needed (on a Mac: coreutils, first in PATH)"
docker info >/dev/null 2>&1 || die "the docker engine does not answer"

region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[[ -n $region ]] || die "no region: set AWS_REGION"
export AWS_REGION=$region AWS_DEFAULT_REGION=$region AWS_PAGER=''
identity=$(aws sts get-caller-identity --output json) || die "no credentials: log in first (aws sso login, or AWS_PROFILE)"
account=$(jq -r .Account <<<"$identity")
partition=$(jq -r '.Arn | split(":")[1]' <<<"$identity")
caller=$(jq -r .Arn <<<"$identity")
session_seconds=${SESSION_SECONDS:-900}
((session_seconds >= 900)) || die "SESSION_SECONDS: STS takes 900 at least"
case $(uname -m) in
x86_64) architecture=X86_64 ;;
aarch64 | arm64) architecture=ARM64 ;;
*) die "Fargate has no $(uname -m)" ;;
esac

name=ecr-refresher-verify-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
registry=$account.dkr.ecr.$region.amazonaws.com
[[ $partition == aws-cn ]] && registry+=.cn
image=$registry/$name:1

# --- the plan, and the question -------------------------------------------------------------------------------------------

cat >&2 <<PLAN
aws-verify will create, in account $account, region $region, as $caller:

  an ECR repository     with one image of about 10 MB, built from this directory
  four IAM roles        that may get tokens and read that repository: for the task, for its execution, and two that may be
                        assumed from this account with a random external id
  an ECS cluster        with two task definitions and a log group
  two Fargate tasks     of 0.25 vCPU with a public address, of about 3 minutes, in ${SUBNETS:-the default VPC}

Every name begins with $name.

It takes about $((session_seconds / 60 + 12)) minutes and less than US\$ 0.05: Fargate 0.012 and an address 0.005 an hour for each task, all else is
cents a month. Everything is deleted at the end, also after an error or Ctrl-C; what cannot be deleted is listed.
PLAN
[[ -z $plan_only ]] || exit 0
[[ -t 0 ]] || die "it asks before it creates anything, and standard input is no terminal"
read -r -p "Type the account's number to go on: " answer
[[ $answer == "$account" ]] || die "nothing was created"

# --- cleaning up ----------------------------------------------------------------------------------------------------------

work=$(mktemp -d)
report=$PWD/aws-verify-$(date -u +%Y%m%dT%H%M%SZ).md
undo=() # what to do at the end, the last one first; each a function's name and one argument
later() { undo+=("$1 $2"); }

cleanup() {
	local code=$? i what argument left=()
	trap - EXIT
	trap '' INT TERM
	say "cleaning up"
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
		read -r what argument <<<"${undo[i]}"
		"$what" "$argument" >/dev/null 2>>"$work/cleanup.log" || left+=("$what $argument")
	done
	if ((${#left[@]})); then
		say "LEFT BEHIND, please delete by hand:"
		printf '  %s\n' "${left[@]}" >&2
		sed 's/^/  /' "$work/cleanup.log" >&2
	fi
	rm -rf "$work"
	[[ ! -e $report ]] || say "report: $report"
	exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

gone() { grep -Eq 'NoSuchEntity|NotFound|does not exist' <<<"$1"; } # already: then there is nothing left to delete
quietly() {
	local out
	out=$("$@" 2>&1) || gone "$out" || { printf '%s\n' "$out" >&2; return 1; }
}
drop_repository() { quietly aws ecr delete-repository --repository-name "$1" --force; }
drop_log_group() { quietly aws logs delete-log-group --log-group-name "$1"; }
drop_cluster() { quietly aws ecs delete-cluster --cluster "$1"; }
drop_task_definition() {
	quietly aws ecs deregister-task-definition --task-definition "$1" && quietly aws ecs delete-task-definitions --task-definitions "$1"
}
drop_task() {
	quietly aws ecs stop-task --cluster "$name" --task "$1" --reason "aws-verify is done" && quietly aws ecs wait tasks-stopped --cluster "$name" --tasks "$1"
}
drop_role() {
	local policy policies
	policies=$(aws iam list-role-policies --role-name "$1" --query PolicyNames --output text 2>&1) || { gone "$policies" && return 0; return 1; }
	for policy in $policies; do
		[[ $policy == None ]] || quietly aws iam delete-role-policy --role-name "$1" --policy-name "$policy" || return 1
	done
	quietly aws iam delete-role --role-name "$1"
}
drop_image() { quietly docker image rm "$1"; }

# --- tools ----------------------------------------------------------------------------------------------------------------

# row QUESTION ASSUMED OBSERVED adds a line to the report, without the account's number.
row() { printf '| %s | %s | %s |\n' "$1" "$2" "$(tr '\n|' ' /' <<<"$3" | cut -c1-300)" | sed "s/$account/ACCOUNT/g" | tee -a "$report" >&2; }

# role NAME TRUST makes a role that may get tokens and read the repository.
role() {
	later drop_role "$1"
	aws iam create-role --role-name "$1" --assume-role-policy-document "$2" --query Role.Arn --output text
	aws iam put-role-policy --role-name "$1" --policy-name ecr --policy-document "$(jq -n --arg repository "arn:$partition:ecr:$region:$account:repository/$name" \
		--arg logs "arn:$partition:logs:$region:$account:log-group:/ecs/$name:*" '{Version: "2012-10-17", Statement: [
			{Effect: "Allow", Action: "ecr:GetAuthorizationToken", Resource: "*"},
			{Effect: "Allow", Action: ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource: $repository},
			{Effect: "Allow", Action: ["logs:CreateLogStream", "logs:PutLogEvents"], Resource: $logs}]}')"
}

# login ROLE FILE gets a token in a session of a role into FILE.token, and leaves its times in FILE.json.
login() {
	local i credentials=$2.credentials
	for i in $(seq 30); do # a new role takes some seconds to be there
		aws sts assume-role --role-arn "arn:$partition:iam::$account:role/$1" --role-session-name aws-verify --external-id "$external_id" \
			--duration-seconds "$session_seconds" --output json >"$credentials" 2>"$work/err" && break
		((i < 30)) || { cat "$work/err" >&2; return 1; }
		sleep 2
	done
	for i in $(seq 15); do # and so does its policy
		(
			unset AWS_PROFILE AWS_DEFAULT_PROFILE
			AWS_ACCESS_KEY_ID=$(jq -r .Credentials.AccessKeyId "$credentials")
			AWS_SECRET_ACCESS_KEY=$(jq -r .Credentials.SecretAccessKey "$credentials")
			AWS_SESSION_TOKEN=$(jq -r .Credentials.SessionToken "$credentials")
			export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
			aws ecr get-authorization-token --output json
		) >"$2.answer" 2>"$work/err" && break
		((i < 15)) || { cat "$work/err" >&2; return 1; }
		sleep 2
	done
	jq -r '.authorizationData[0].authorizationToken' "$2.answer" >"$2.token"
	jq -n --slurpfile s "$credentials" --slurpfile t "$2.answer" --argjson now "$(date +%s)" \
		'{session: $s[0].Credentials.Expiration, token: $t[0].authorizationData[0].expiresAt, now: $now}' >"$2.json"
	rm -f "$credentials" "$2.answer"
}

# ask HOST PATH TOKENFILE prints the status with which a registry answers.
ask() {
	printf 'header = "Authorization: Basic %s"\n' "$(tr -d '\n' <"$3")" >"$work/curlrc"
	curl -sS -o /dev/null -w '%{http_code}' --max-time 20 -K "$work/curlrc" \
		-H 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json' \
		"https://$1$2" 2>"$work/err" || printf ' (%s)' "$(tr '\n' ' ' <"$work/err")"
}
both() { printf '/v2/ %s, manifest %s' "$(ask "$registry" /v2/ "$1")" "$(ask "$registry" "/v2/$name/manifests/1" "$1")"; }

seconds_of() { date -u -d "$1" +%s; }

# logs PREFIX prints what a container has logged, a "time message" a line.
logs() {
	aws logs filter-log-events --log-group-name "/ecs/$name" --log-stream-name-prefix "$1" --output json |
		jq -r '.events[] | "\(.timestamp) \(.message)"'
}

# task FAMILY FILTER runs the shipped task definition, changed by a jq filter, until its app has ended.
task() {
	local family=$1 definition arn
	jq --arg family "$family" --arg image "$image" --arg group "/ecs/$name" --arg region "$region" --arg architecture "$architecture" \
		--arg task "arn:$partition:iam::$account:role/$name-task" --arg execution "arn:$partition:iam::$account:role/$name-execution" "
		.family = \$family | .taskRoleArn = \$task | .executionRoleArn = \$execution | .runtimePlatform.cpuArchitecture = \$architecture
		| .containerDefinitions[].logConfiguration.options |= (.\"awslogs-group\" = \$group | .\"awslogs-region\" = \$region | .\"awslogs-stream-prefix\" = \$family + \"-\" + .\"awslogs-stream-prefix\")
		| .containerDefinitions[0].image = \$image
		| .containerDefinitions[1].image = \"public.ecr.aws/docker/library/busybox:stable\"
		| $2" deploy/taskdef.json >"$work/$family.json"
	definition=$(aws ecs register-task-definition --cli-input-json "file://$work/$family.json" --query taskDefinition.taskDefinitionArn --output text)
	later drop_task_definition "$definition"
	arn=$(aws ecs run-task --cluster "$name" --launch-type FARGATE --task-definition "$definition" \
		--network-configuration "awsvpcConfiguration={subnets=[$subnets],securityGroups=[$security_group],assignPublicIp=ENABLED}" \
		--query 'tasks[0].taskArn' --output text)
	[[ $arn == arn:* ]] || { say "the task was not started"; return 1; }
	later drop_task "$arn"
	for _ in $(seq 10); do # of up to 10 min each
		aws ecs wait tasks-stopped --cluster "$name" --tasks "$arn" && break
	done
	aws ecs describe-tasks --cluster "$name" --tasks "$arn" --output json >"$work/$family.task"
	for _ in $(seq 30); do # the log is some seconds late
		[[ -n $(logs "$family-app" | grep verify-end || true) ]] && break
		sleep 2
	done
}

# --- what is made ---------------------------------------------------------------------------------------------------------

say "building"
make -s build
later drop_image "$image"
docker build -q --tag "$image" --build-arg VERSION=aws-verify . >/dev/null
version=$(bin/refresher version)

say "creating"
later drop_repository "$name"
aws ecr create-repository --repository-name "$name" >/dev/null
mkdir "$work/docker"
aws ecr get-login-password | docker --config "$work/docker" login --username AWS --password-stdin "$registry" >/dev/null 2>&1
docker --config "$work/docker" push -q "$image" >/dev/null

later drop_log_group "/ecs/$name"
aws logs create-log-group --log-group-name "/ecs/$name"
external_id=$(od -An -N16 -tx8 /dev/urandom | tr -d ' \n')
for_tasks=$(jq -n --arg account "$account" '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "sts:AssumeRole",
	Principal: {Service: "ecs-tasks.amazonaws.com"}, Condition: {StringEquals: {"aws:SourceAccount": $account}}}]}')
for_us=$(jq -n --arg root "arn:$partition:iam::$account:root" --arg id "$external_id" '{Version: "2012-10-17", Statement: [{Effect: "Allow", Action: "sts:AssumeRole",
	Principal: {AWS: $root}, Condition: {StringEquals: {"sts:ExternalId": $id}}}]}')
role "$name-task" "$for_tasks" >/dev/null
role "$name-execution" "$for_tasks" >/dev/null
role "$name-session" "$for_us" >/dev/null
role "$name-revoke" "$for_us" >/dev/null
later drop_cluster "$name"
aws ecs create-cluster --cluster-name "$name" >/dev/null
subnets=${SUBNETS-}
if [[ -z $subnets ]]; then
	subnets=$(aws ec2 describe-subnets --filters Name=default-for-az,Values=true --query 'Subnets[].SubnetId' --output text | tr -s '\t ' ,)
	[[ $subnets == subnet-* ]] || die "no default VPC here: set SUBNETS"
fi
security_group=${SECURITY_GROUP-}
if [[ -z $security_group ]]; then
	vpc=$(aws ec2 describe-subnets --subnet-ids "${subnets%%,*}" --query 'Subnets[0].VpcId' --output text)
	security_group=$(aws ec2 describe-security-groups --filters "Name=vpc-id,Values=$vpc" Name=group-name,Values=default --query 'SecurityGroups[0].GroupId' --output text)
fi

cat >"$report" <<REPORT
### aws-verify

$(date -u +%Y-%m-%dT%H:%M:%SZ), region $region, $architecture, $version, $(aws --version 2>&1 | cut -d' ' -f1)

| question | the design assumes | observed |
|---|---|---|
REPORT

# --- session expiry, begun: the wait goes on beside the rest ----------------------------------------------------------------

say "getting a token in a session of $session_seconds s"
login "$name-session" "$work/session"
session_end=$(seconds_of "$(jq -r .session "$work/session.json")")
token_end=$(seconds_of "$(jq -r .token "$work/session.json")")
row "life of a token" "12 h, whatever the session's" "$(((token_end - $(jq .now "$work/session.json")) / 60)) min, in a session of $((session_seconds / 60)) min"
row "a token within its session" "accepted" "$(both "$work/session.token")"

# --- FIPS and dual-stack ----------------------------------------------------------------------------------------------------

say "asking FIPS and dual-stack hosts"
for host in "$registry" "$account.dkr.ecr-fips.$region.amazonaws.com" "$account.dkr-ecr.$region.on.aws" "$account.dkr-ecr-fips.$region.on.aws"; do
	mkdir -p "$work/host"
	rm -f "$work"/host/* "$work"/host/.[!.]*
	if (
		exported=$(aws configure export-credentials --format env) || exit 1
		eval "$exported"
		unset AWS_PROFILE AWS_DEFAULT_PROFILE
		bin/refresher once --registry "$host" --output "$work/host/config.json" --deadline 20s
	) >"$work/host/log" 2>&1; then
		jq -r --arg host "$host" '.auths[$host].auth' "$work/host/config.json" >"$work/host.token"
		row "$host" "a token from its own API, accepted by it (FIPS: in the US and Canada only)" "token written; /v2/ $(ask "$host" /v2/ "$work/host.token")"
	else
		row "$host" "a token from its own API, accepted by it (FIPS: in the US and Canada only)" "no token: $(grep -o '"class":"[^"]*","error":"[^"]*"' "$work/host/log" | tail -1)"
	fi
done

# --- on Fargate: the volume's owner, the first probe ------------------------------------------------------------------------

# shellcheck disable=SC2016 # expanded by jq and by the container's shell
look='["sh", "-c", "echo verify-start; ls -ldn $VERIFY_DIR; ls -ln $VERIFY_DIR; test -r $VERIFY_DIR/config.json && echo readable by uid $(id -u); echo verify-end"]'
say "running the shipped task on Fargate"
task "$name-shipped" ".containerDefinitions[1].command = $look | .containerDefinitions[1].user = \"1000:1000\" | .containerDefinitions[1].environment += [{name: \"VERIFY_DIR\", value: \"/run/ecr\"}]"
row "owner of the volume at the image's VOLUME" "65532 65532, 0755" "$(logs "$name-shipped-app" | grep -o 'd[rwx-]\{9\}.*/run/ecr$' || echo 'not seen')"
row "the file, for another user" "readable, 0644" "$(logs "$name-shipped-app" | grep -o '[-]rw.*config.json$\|readable by.*' | tr '\n' ' ' || echo 'not seen')"
started=$(logs "$name-shipped-refresher" | awk '/"refresher started"/ && !n++ {print $1}')
written=$(logs "$name-shipped-refresher" | awk '/"token written"/ && !n++ {print $1}')
app=$(logs "$name-shipped-app" | awk '/verify-start/ && !n++ {print $1}')
if [[ -n $started && -n $written && -n $app ]]; then
	row "from the sidecar's start to its token" "under a second" "$((written - started)) ms"
	row "from the sidecar's start to the app's (first probe, then HEALTHY)" "about 10 s, one interval" "$((app - started)) ms"
else
	row "time to the first probe" "about 10 s, one interval" "not seen: $(jq -r '.tasks[0].stoppedReason' "$work/$name-shipped.task")"
fi

say "running it with the volume at another path"
task "$name-elsewhere" ".containerDefinitions[0].mountPoints[0].containerPath = \"/run/elsewhere\"
	| .containerDefinitions[0].environment += [{name: \"REFRESHER_OUTPUTS\", value: \"/run/elsewhere/config.json\"}]
	| .containerDefinitions[1].command = ($look | .[2] |= \"sleep 20; \" + .)
	| .containerDefinitions[1].dependsOn[0].condition = \"START\" | .containerDefinitions[1].environment += [{name: \"VERIFY_DIR\", value: \"/run/ecr\"}]"
row "owner of the volume at another path" "0 0, 0755" "$(logs "$name-elsewhere-app" | grep -o 'd[rwx-]\{9\}.*/run/ecr$' || echo 'not seen')"
row "what the sidecar says there" "output_denied" "$(logs "$name-elsewhere-refresher" | grep -o '"class":"[^"]*"' | sort -u | tr '\n' ' ' || true)"

# --- revocation -------------------------------------------------------------------------------------------------------------

say "revoking"
login "$name-revoke" "$work/revoke"
row "a token before revocation" "accepted" "$(both "$work/revoke.token")"
aws iam put-role-policy --role-name "$name-revoke" --policy-name deny --policy-document '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}'
sleep 90 # IAM is eventually consistent
row "90 s after a deny on the role" "not verified" "$(both "$work/revoke.token")"
aws iam delete-role-policy --role-name "$name-revoke" --policy-name deny
aws iam put-role-policy --role-name "$name-revoke" --policy-name older-sessions --policy-document "$(jq -n --arg now "$(date -u +%Y-%m-%dT%H:%M:%SZ)" '{Version: "2012-10-17", Statement: [
	{Effect: "Deny", Action: "*", Resource: "*", Condition: {DateLessThan: {"aws:TokenIssueTime": $now}}}]}')"
sleep 90
row "90 s after revoking the role's older sessions" "not verified" "$(both "$work/revoke.token")"
drop_role "$name-revoke"
sleep 90
row "90 s after the role was deleted" "not verified" "$(both "$work/revoke.token")"

# --- session expiry, ended --------------------------------------------------------------------------------------------------

rest=$((session_end + 60 - $(date +%s)))
if ((rest > 0)); then
	say "waiting $rest s for the end of the session"
	sleep "$rest"
fi
row "a token $(($(date +%s) - session_end)) s after its session ended" "not verified; the refresher renews at half of the token's life" "$(both "$work/session.token")"
say "done"
