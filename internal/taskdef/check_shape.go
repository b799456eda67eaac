package taskdef

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A shape is what a value of the document must be.
type (
	object map[string]any // these keys and no other, each with its shape
	list   struct{ of any }
	words  struct{} // an object of strings whose keys are free
	scalar string
)

const (
	text    scalar = "a string"
	filled  scalar = "a string that is not empty" // ECS refuses an empty one
	number  scalar = "an integer"
	boolean scalar = "true or false"
)

// pairs, secrets and properties: the shapes that occur more than once.
var (
	pairs   = list{object{"name": filled, "value": text}}
	secrets = list{object{"name": filled, "valueFrom": filled}}
	texts   = list{text}
)

// definitionShape is the input of RegisterTaskDefinition, from the API model of November 2026.
var definitionShape = object{
	"family": text, "taskRoleArn": filled, "executionRoleArn": filled, "networkMode": filled,
	"cpu": filled, "memory": filled, // strings here, integers in the containers
	"requiresCompatibilities": list{filled}, "pidMode": filled, "ipcMode": filled, "enableFaultInjection": boolean,
	"runtimePlatform":       object{"cpuArchitecture": filled, "operatingSystemFamily": filled},
	"ephemeralStorage":      object{"sizeInGiB": number},
	"placementConstraints":  list{object{"type": filled, "expression": text}},
	"inferenceAccelerators": list{object{"deviceName": text, "deviceType": text}},
	"proxyConfiguration":    object{"type": filled, "containerName": filled, "properties": pairs},
	"tags":                  list{object{"key": filled, "value": text}},
	"volumes": list{object{
		"name": filled, "configuredAtLaunch": boolean,
		"host":                      object{"sourcePath": text},
		"dockerVolumeConfiguration": object{"scope": text, "autoprovision": boolean, "driver": text, "driverOpts": words{}, "labels": words{}},
		"efsVolumeConfiguration": object{"fileSystemId": filled, "rootDirectory": text, "transitEncryption": text, "transitEncryptionPort": number,
			"authorizationConfig": object{"accessPointId": text, "iam": text}},
		"fsxWindowsFileServerVolumeConfiguration": object{"fileSystemId": filled, "rootDirectory": text,
			"authorizationConfig": object{"credentialsParameter": filled, "domain": filled}},
		"s3filesVolumeConfiguration": object{"fileSystemArn": filled, "accessPointArn": text, "rootDirectory": text, "transitEncryptionPort": number},
	}},
	"containerDefinitions": list{containerShape},
}

var containerShape = object{
	"name": text, "image": text, "essential": boolean, "user": text, "hostname": text, "workingDirectory": text,
	"command": texts, "entryPoint": texts, "environment": pairs, "secrets": secrets,
	"environmentFiles": list{object{"type": filled, "value": filled}},
	"cpu":              number, "memory": number, "memoryReservation": number,
	"startTimeout": number, "stopTimeout": number,
	"interactive": boolean, "pseudoTerminal": boolean, "privileged": boolean, "readonlyRootFilesystem": boolean, "disableNetworking": boolean,
	"links": list{filled}, "dnsServers": texts, "dnsSearchDomains": texts, "dockerSecurityOptions": texts, "credentialSpecs": texts,
	"dockerLabels":          words{},
	"versionConsistency":    text,
	"dependsOn":             list{object{"containerName": text, "condition": text}},
	"mountPoints":           list{object{"sourceVolume": text, "containerPath": filled, "readOnly": boolean}},
	"volumesFrom":           list{object{"sourceContainer": text, "readOnly": boolean}},
	"extraHosts":            list{object{"hostname": filled, "ipAddress": filled}},
	"repositoryCredentials": object{"credentialsParameter": filled},
	"resourceRequirements":  list{object{"type": filled, "value": filled, "sharingStrategy": text}},
	"systemControls":        list{object{"namespace": filled, "value": text}},
	"ulimits":               list{object{"name": filled, "softLimit": number, "hardLimit": number}},
	"firelensConfiguration": object{"type": filled, "options": words{}},
	"logConfiguration":      object{"logDriver": filled, "options": words{}, "secretOptions": secrets},
	"healthCheck":           object{"command": texts, "interval": number, "timeout": number, "retries": number, "startPeriod": number},
	"restartPolicy":         object{"enabled": boolean, "ignoredExitCodes": list{number}, "restartAttemptPeriod": number},
	"portMappings": list{object{"name": text, "containerPort": number, "containerPortRange": filled, "hostPort": number,
		"protocol": filled, "appProtocol": filled}},
	"linuxParameters": object{
		"capabilities": object{"add": texts, "drop": texts}, "initProcessEnabled": boolean,
		"devices":          list{object{"hostPath": filled, "containerPath": text, "permissions": texts}},
		"sharedMemorySize": number, "maxSwap": number, "swappiness": number,
		"tmpfs": list{object{"containerPath": filled, "size": number, "mountOptions": texts}},
	},
}

// described are the keys that describe-task-definition adds and register-task-definition refuses.
var described = []string{"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities",
	"registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt"}

// conform finds unknown keys, which are warnings since AWS adds keys, and wrong types, which are failures. It reports whether
// all types are right.
func (c *checker) conform(at string, v, shape any) bool {
	switch shape := shape.(type) {
	case object:
		m, ok := v.(map[string]any)
		if !ok {
			return c.wrongType(at, "an object", v)
		}
		good := true
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if sub, known := shape[key]; known {
				good = c.conform(at+"."+key, m[key], sub) && good
			} else {
				c.unknownKey(at+"."+key, key, shape)
			}
		}
		return good
	case list:
		l, ok := v.([]any)
		if !ok {
			return c.wrongType(at, "a list", v)
		}
		good := true
		for i, item := range l {
			good = c.conform(fmt.Sprintf("%s[%d]", at, i), item, shape.of) && good
		}
		return good
	case words:
		m, ok := v.(map[string]any)
		if !ok {
			return c.wrongType(at, "an object of strings", v)
		}
		good := true
		for _, key := range slices.Sorted(maps.Keys(m)) {
			good = c.conform(at+"."+key, m[key], text) && good
		}
		return good
	case scalar:
		if shape == filled && v == "" {
			c.fail(at, "this is empty, and ECS refuses that", "Fill it in, or remove it.")
			return true
		}
		if kind := kindOf(v); kind != shape && !(shape == filled && kind == text) {
			return c.wrongType(at, strings.TrimSuffix(string(shape), " that is not empty"), v)
		}
	}
	return true
}

// known is what conforms, without the keys that its shape does not have.
func known(v, shape any) any {
	switch shape := shape.(type) {
	case object:
		m, kept := v.(map[string]any), map[string]any{}
		for key, sub := range shape {
			if v, there := m[key]; there {
				kept[key] = known(v, sub)
			}
		}
		return kept
	case list:
		kept := []any{} // an empty list is not an absent one
		for _, item := range v.([]any) {
			kept = append(kept, known(item, shape.of))
		}
		return kept
	}
	return v
}

func (c *checker) wrongType(at, want string, v any) bool {
	c.fail(at, fmt.Sprintf("this is %s, and must be %s", kindOf(v), want), "Write "+want+".")
	return false
}

func (c *checker) unknownKey(at, key string, shape object) {
	if slices.Contains(described, key) {
		c.fail(at, "describe-task-definition adds this key, and register-task-definition refuses it", "Remove it.")
		return
	}
	cure := "Remove it, unless AWS has added it since this program was made."
	for known := range shape {
		if strings.EqualFold(known, key) {
			cure = "Write " + known + "."
		}
	}
	c.warn(at, "unknown key "+key, cure)
}

func kindOf(v any) scalar {
	switch v := v.(type) {
	case string:
		return text
	case bool:
		return boolean
	case json.Number:
		if _, err := v.Int64(); err != nil {
			return "a number that is no integer"
		}
		return number
	case []any:
		return "a list"
	case nil:
		return "null"
	}
	return "an object"
}
