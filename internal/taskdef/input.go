package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"ecr-refresher/internal/textfile"
)

// What to give instead of each kind of document that is not a task definition.
const (
	describeIt  = "Give what 'aws ecs describe-task-definition' prints of it."
	registerIt  = "Deploy it once, then give what 'aws ecs describe-task-definition' prints; deploy/cloudformation.yaml shows the sidecar in a template."
	terraformIt = "Give the list of containers alone, which Terraform calls container_definitions."
)

// recognised says what a JSON object is that has no containerDefinitions, and what to give instead. ok is
// false for one that is not known.
func recognised(top map[string]any) (r Reason, ok bool) {
	has := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(key string) bool { _, there := top[key]; return !there })
	}
	isList := func(key string) bool { _, ok := top[key].([]any); return ok }
	isObject := func(key string) bool { _, ok := top[key].(map[string]any); return ok }
	isText := func(key string) bool { _, ok := top[key].(string); return ok }
	kind, _ := top["Type"].(string)
	switch {
	case has("AWSTemplateFormatVersion"), isObject("Resources"):
		return Reason{"this is a CloudFormation template, not a task definition", registerIt}, true
	case strings.HasPrefix(kind, "AWS::"), has("Properties") && isObject("Properties"):
		return Reason{"this is a resource of a CloudFormation template, not a task definition",
			registerIt}, true
	case has("taskDefinitions"):
		return Reason{"this is a list of task definitions under taskDefinitions, and one is needed",
			"Take one of them: jq '.taskDefinitions[0]'."}, true
	case has("taskDefinitionArns"):
		return Reason{"this is the answer of list-task-definitions: it has the names of task definitions, not their content", describeIt}, true
	case has("families"):
		return Reason{"this is the answer of list-task-definition-families: it has the names of task definitions, not their content", describeIt}, true
	case isList("services"), isObject("service"), has("serviceArns"):
		return Reason{"this is about services: each names its task definition and does not hold it",
			describeIt}, true
	case isText("taskDefinition"):
		return Reason{"this only names a task definition, under taskDefinition", describeIt}, true
	case isObject("TaskDefinition"):
		return Reason{"its keys begin with a capital, as PowerShell and CloudFormation write them: TaskDefinition", describeIt}, true
	case isList("tasks"), has("taskArns"):
		return Reason{"this is about running tasks: each names its task definition and does not hold it",
			describeIt}, true
	case has("containerOverrides"), has("overrides"):
		return Reason{"these are the overrides of a task, not a task definition", describeIt}, true
	case has("terraform_version"), has("format_version"), has("planned_values"), has("resource"), has("resource_changes"):
		return Reason{"this is a plan, a state or a configuration of Terraform, not a task definition",
			terraformIt}, true
	case has("container_definitions"):
		return Reason{"its keys are written as Terraform writes them: container_definitions",
			terraformIt}, true
	case isObject("services"):
		return Reason{"this is a docker compose file, not a task definition",
			"Write a task definition, or give the one that was made from it."}, true
	case has("apiVersion", "kind"):
		return Reason{"this is a Kubernetes manifest, not a task definition",
			"Write a task definition for ECS."}, true
	case isObject("auths"), isText("credsStore"), isObject("credHelpers"):
		return Reason{"this is a docker config.json, not a task definition", describeIt}, true
	case isText("image"):
		return Reason{"this is one container, not a task definition",
			"Give the whole definition, or put [ and ] around the container: a list of containers is taken, too."}, true
	case len(top) > 0 && partOfContainer(top):
		return Reason{"this is a part of a container, without its name and its image",
			"Give the whole definition."}, true
	}
	return Reason{}, false
}

// partOfContainer reports whether all keys are those of a container.
func partOfContainer(m map[string]any) bool {
	container := false
	for key := range m {
		if _, known := containerShape[key]; !known {
			return false
		}
		_, both := definitionShape[key]
		container = container || !both
	}
	return container
}

// strangeList says what a list is that is not one of containers.
func strangeList(v any) (r Reason, ok bool) {
	items, _ := v.([]any)
	for _, item := range items {
		m, isObject := item.(map[string]any)
		has := func(key string) bool { _, there := m[key]; return there }
		switch {
		case !isObject:
			return Reason{"this list has an item that is " + string(kindOf(item)) + "; a list of containers is taken, and nothing else", describeIt}, true
		case has("containerDefinitions"), has("taskDefinition"):
			return Reason{"this is a list of task definitions, and one is needed",
				"Take one of them: jq '.[0]'."}, true
		case has("imageUri"):
			return Reason{"this is a list of images, as CodePipeline takes it in imagedefinitions.json, not of containers", "Give the task definition."}, true
		case has("Name"), has("Image"):
			return Reason{"the containers' keys begin with a capital, as CloudFormation writes them",
				"Write name, image and so on, as the API has them."}, true
		case !has("name") && !has("image") && !partOfContainer(m):
			return Reason{"this is a list, but not one of containers: an item has neither name nor image",
				describeIt}, true
		}
	}
	return Reason{}, false
}

// decoded takes off a byte order mark, and says of what is not JSON at all what it seems to be.
func decoded(doc []byte) ([]byte, error) {
	switch textfile.EncodingOf(doc) {
	case textfile.UTF16, textfile.UTF16LE, textfile.UTF16BE:
		return nil, errors.New("it is UTF-16, as PowerShell's > writes it; write UTF-8")
	case textfile.UTF32, textfile.UTF32LE, textfile.UTF32BE:
		return nil, errors.New("it is UTF-32; write UTF-8")
	}
	doc = bytes.TrimPrefix(doc, []byte("\ufeff"))
	first := bytes.TrimLeft(doc, " \t\r\n")
	switch {
	case len(first) == 0, first[0] == '{', first[0] == '[':
		return doc, nil
	case json.Valid(doc):
		if first[0] == '"' {
			return nil, errors.New("it is a JSON string, and what is in it is needed: take it out with jq -r, or terraform output -raw")
		}
		return nil, errors.New("it is neither a JSON object nor a list of containers")
	}
	for _, known := range notJSON {
		if known.is.Match(first) {
			return nil, errors.New(known.what)
		}
	}
	return nil, errors.New("it is not JSON")
}

// notJSON are the other formats in which people have task definitions, the particular ones first.
var notJSON = []struct {
	is   *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`^"[^"\n]*"\s*:`), "it is a piece of a JSON object: put { before it and } after it, or give the whole definition"},
	{regexp.MustCompile(`^arn:[a-z-]+:ecs:\S+\s*$`), "it is the ARN of a task definition; give what 'aws ecs describe-task-definition' prints of it"},
	{regexp.MustCompile(`^(?:TASKDEFINITION\t|-{20,}\s*\n\|)`), "it is the AWS CLI's output as text or as a table; call it with --output json"},
	{regexp.MustCompile(`(?m)^\s*(?:resource|data|module|variable|locals|terraform|provider|output)(?:\s+"[^"\n]*")*\s*\{`),
		"it is a Terraform configuration (HCL); give the list of containers alone as JSON, which Terraform calls container_definitions"},
	{regexp.MustCompile(`^<`), "it is XML or HTML, not JSON"},
	{regexp.MustCompile(`(?m)^(?:AWSTemplateFormatVersion|Resources|Transform)\s*:`),
		"it is a CloudFormation template in YAML; deploy it once, then give what 'aws ecs describe-task-definition' prints; deploy/cloudformation.yaml shows the sidecar in a template"},
	{regexp.MustCompile(`(?m)^services\s*:`), "it is a docker compose file, not a task definition"},
	{regexp.MustCompile(`(?ms)^apiVersion\s*:.*^kind\s*:|^kind\s*:.*^apiVersion\s*:`), "it is a Kubernetes manifest, not a task definition"},
	{regexp.MustCompile(`(?m)\A(?:---|%YAML|#)|^(?:- )?\s*["']?[\w.-]+["']?\s*:(?:\s|$)`), "it is YAML, and only JSON is read; convert it, for example with yq -o=json, or call the AWS CLI with --output json"},
}

// isArray reports whether a document is a list, which is taken for one of containers.
func isArray(doc []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(doc, " \t\r\n"), []byte("[")) }

// asDefinition makes a definition of a plain document: a bare list of containers becomes one that has
// nothing else.
func asDefinition(plain []byte) []byte {
	if !isArray(plain) {
		return plain
	}
	return encode(fields{{"containerDefinitions", json.RawMessage(plain)}})
}

// noNulls takes out what is null, in objects and in lists: the console and older command lines print every
// key that there is. Everything else keeps its bytes. It returns the document itself where there is no null
// in it.
func noNulls(doc json.RawMessage) (json.RawMessage, error) {
	if !bytes.Contains(doc, []byte("null")) {
		return doc, nil
	}
	changed := false
	inner := func(at string, value json.RawMessage) (json.RawMessage, error) {
		kept, err := noNulls(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		changed = changed || len(kept) != len(value)
		return kept, nil
	}
	switch bytes.TrimSpace(doc)[0] {
	case '{':
		f, err := readFields(doc)
		if err != nil {
			return nil, err
		}
		var kept fields
		for _, m := range f {
			if isNull(m.value) {
				changed = true
				continue
			}
			if m.value, err = inner(m.key, m.value); err != nil {
				return nil, err
			}
			kept = append(kept, m)
		}
		if changed {
			return encode(kept), nil
		}
	case '[':
		items, err := readItems(doc)
		if err != nil {
			return nil, err
		}
		kept := []json.RawMessage{}
		for i, item := range items {
			if isNull(item) {
				changed = true
				continue
			}
			if item, err = inner(fmt.Sprint(i), item); err != nil {
				return nil, err
			}
			kept = append(kept, item)
		}
		if changed {
			return encode(kept), nil
		}
	}
	return doc, nil
}

func isNull(doc json.RawMessage) bool { return string(bytes.TrimSpace(doc)) == "null" }

// readItems takes a list apart.
func readItems(doc []byte) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	var items []json.RawMessage
	if err := dec.Decode(&items); err != nil {
		return nil, cannot(doc, dec, err, "")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after its end")
	}
	return items, nil
}
