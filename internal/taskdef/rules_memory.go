package taskdef

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// sizes are the memory sizes in MiB that Fargate offers with so many CPU units.
var sizes = map[int]struct{ low, high, step int }{
	256: {512, 2048, 512}, // but not 1536
	512: {1024, 4096, 1024}, 1024: {2048, 8192, 1024}, 2048: {4096, 16384, 1024}, 4096: {8192, 30720, 1024},
	8192: {16384, 61440, 4096}, 16384: {32768, 122880, 8192},
}

// offered reports whether Fargate has this size.
func offered(cpu, memory int) bool {
	s, known := sizes[cpu]
	return known && memory >= s.low && memory <= s.high && (memory-s.low)%s.step == 0 && (cpu != 256 || memory != 1536)
}

// reserves returns what ECS sets aside for a container: its reservation, else its limit.
func (k container) reserves() int {
	switch {
	case k.MemoryReservation != nil:
		return *k.MemoryReservation
	case k.Memory != nil:
		return *k.Memory
	}
	return 0
}

// shortOf returns how much the task's memory is short of what its containers reserve. It is 0 where that is
// enough, or where the task does not say how much it has.
func (d *definition) shortOf(reserved int) (missing, task int) {
	task, ok := amount(d.Memory, "gb")
	if !ok {
		return 0, 0
	}
	return max(0, reserved-task), task
}

// moreMemory says how a task gets enough memory. Only on Fargate there are sizes to choose from.
func (d *definition) moreMemory(need int) string {
	if !d.fargate() {
		return fmt.Sprintf("raise the task's memory. It must be at least %d MiB; any number is allowed on EC2.", need)
	}
	cpu, _ := amount(d.CPU, "vcpu")
	for _, more := range slices.Sorted(maps.Keys(sizes)) {
		s := sizes[more]
		for size := s.low; size <= s.high && more >= cpu; size += s.step {
			if size < need || !offered(more, size) {
				continue
			}
			if more == cpu {
				return fmt.Sprintf(`raise the task's memory to "%d".`, size)
			}
			return fmt.Sprintf(`raise the task's cpu to "%d" and its memory to "%d".`, more, size)
		}
	}
	return "raise the task's memory."
}

// fits checks that the containers fit into the task's memory, where it says how much that is.
func (c *checker) fits() {
	var reserved int
	for _, k := range c.Containers {
		reserved += k.reserves()
	}
	if missing, task := c.shortOf(reserved); missing > 0 {
		c.fail(".memory", fmt.Sprintf("the containers ask for %d MiB, the task has %d", reserved, task),
			fmt.Sprintf("Lower the containers' memory by %d MiB, or %s", missing, c.moreMemory(reserved)))
	}
}

// size checks the task's size on Fargate.
func (c *checker) size() {
	for _, needed := range []struct{ at, value string }{{".cpu", c.CPU}, {".memory", c.Memory}} {
		if needed.value == "" {
			c.fail(needed.at, "Fargate needs cpu and memory of the task",
				`Write both, such as "cpu": "256" and "memory": "512".`)
			return
		}
	}
	cpu, ok := amount(c.CPU, "vcpu")
	s, known := sizes[cpu]
	if !ok || !known {
		c.fail(".cpu", fmt.Sprintf("Fargate has no size of %q CPU units", c.CPU),
			`Choose "256", "512", "1024", "2048", "4096", "8192" or "16384".`)
		return
	}
	if memory, ok := amount(c.Memory, "gb"); !ok || !offered(cpu, memory) {
		c.fail(".memory", fmt.Sprintf("Fargate has no size of %q MiB with %d CPU units", c.Memory, cpu),
			fmt.Sprintf("Choose %d to %d, in steps of %d.", s.low, s.high, s.step))
	}
}

// amount reads "1024", or with the unit that stands for 1024 of them "1 vCPU" and "0.5GB".
func amount(s, unit string) (int, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if n, has := strings.CutSuffix(s, unit); has {
		f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
		return int(f * 1024), err == nil
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
