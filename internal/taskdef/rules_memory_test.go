package taskdef

import (
	"fmt"
	"strings"
	"testing"
)

// Each row is a task and what its containers reserve, and what it is told when that is too much.
func TestMemoryRules(t *testing.T) {
	for _, row := range []struct {
		name, platform, cpu, memory string
		app                         string // of the container beside the sidecar's 64 MiB
		missing                     int
		fix                         string
	}{
		{"enough", "FARGATE", "256", "512", `"memory":448`, 0, ""},
		{"one too many", "FARGATE", "256", "512", `"memory":449`, 1, `raise the task's memory to "1024".`},
		{"as much as the task", "FARGATE", "256", "512", `"memory":512`, 64, `to "1024".`},
		{"the size that there is not", "FARGATE", "256", "1024", `"memory":1024`, 64, `to "2048".`},
		{"the largest with that cpu", "FARGATE", "256", "2048", `"memory":2048`, 64, `raise the task's cpu to "512" and its memory to "3072".`},
		{"larger than all", "FARGATE", "16384", "122880", `"memory":122880`, 64, "or raise the task's memory."},
		{"in units", "FARGATE", ".25 vCPU", "0.5 GB", `"memory":512`, 64, `to "1024".`},
		{"the reservation counts", "FARGATE", "256", "512", `"memory":512,"memoryReservation":100`, 0, ""},
		{"as much as the task on EC2", "EC2", "256", "512", `"memory":512`, 64, "It must be at least 576 MiB"},
		{"the same without cpu", "EC2", "", "1024", `"memory":1024`, 64, "It must be at least 1088 MiB"},
		{"the same at home", "EXTERNAL", "", "1024", `"memory":1024`, 64, "It must be at least 1088 MiB"},
		{"the same with no platform", "", "", "1000", `"memory":1000`, 64, "It must be at least 1064 MiB"},
		{"both", `EC2","FARGATE`, "256", "512", `"memory":512`, 64, `to "1024".`},
		{"reserved on EC2", "EC2", "", "512", `"memory":4096,"memoryReservation":448`, 0, ""},
		{"no memory of the task", "EC2", "", "", `"memory":100000`, 0, ""},
		{"a memory to be filled in", "EC2", "", "${memory}", `"memory":100000`, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			size := ""
			if row.cpu != "" {
				size += fmt.Sprintf(`"cpu":%q,`, row.cpu)
			}
			if row.memory != "" {
				size += fmt.Sprintf(`"memory":%q,`, row.memory)
			}
			if row.platform != "" {
				size += `"requiresCompatibilities":["` + row.platform + `"],`
			}
			doc := `{"family":"f","networkMode":"awsvpc",` + size + `"taskRoleArn":"arn:aws:iam::123456789012:role/t","executionRoleArn":"arn:aws:iam::123456789012:role/e",
				"containerDefinitions":[{"name":"app","image":"i:1",` + row.app + `}%s]}`
			r := refusal(t, fmt.Appendf(nil, doc, ""), Options{Image: image})
			findings, err := Check(fmt.Appendf(nil, doc, `,{"name":"x","image":"x:1","memory":64}`))
			if err != nil {
				t.Fatal(err)
			}
			var checked []Finding
			for _, f := range findings {
				if f.Where == ".memory" {
					checked = append(checked, f)
				}
			}
			if row.missing == 0 {
				if len(r)+len(checked) > 0 {
					t.Errorf("%q, %+v", r, checked)
				}
				return
			}
			by := fmt.Sprintf("by %d MiB, or", row.missing)
			if len(r) != 1 || !strings.Contains(r[0].Cure, by) || !strings.Contains(r[0].Cure, row.fix) {
				t.Errorf("inject: %q", r)
			}
			if len(checked) != 1 || !strings.Contains(checked[0].Cure, by) || !strings.Contains(checked[0].Cure, row.fix) {
				t.Errorf("check: %+v", checked)
			}
		})
	}
}
