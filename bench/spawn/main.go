// Command spawn runs another program to its end and writes what it cost to descriptor 3.
//
//	spawn PROGRAM ARGUMENT…
//
// The line is: nanoseconds of wall time, microseconds of CPU (user and system), KiB of peak resident memory, exit status.
//
// It is a program of its own because Linux counts the memory of the process that starts another one as that one's peak, until
// it has called exec: started by something as large as the benchmark, a small program would look large. Whatever stays below
// this program's own size cannot be told from it.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	start := time.Now()
	pid, err := syscall.ForkExec(os.Args[1], os.Args[1:], &syscall.ProcAttr{Env: syscall.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		_, _ = syscall.Write(2, []byte("spawn: "+os.Args[1]+": "+err.Error()+"\n"))
		os.Exit(1)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for err = syscall.EINTR; err == syscall.EINTR; {
		_, err = syscall.Wait4(pid, &status, 0, &usage)
	}
	wall := time.Since(start)
	cpu := syscall.TimevalToNsec(usage.Utime)/1000 + syscall.TimevalToNsec(usage.Stime)/1000
	line := strconv.FormatInt(wall.Nanoseconds(), 10) + " " + strconv.FormatInt(cpu, 10) + " " +
		strconv.FormatInt(usage.Maxrss, 10) + " " + strconv.Itoa(status.ExitStatus()) + "\n"
	_, _ = syscall.Write(3, []byte(line))
}
