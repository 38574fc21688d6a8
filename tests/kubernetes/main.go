// The real `kube-apiserver`, `etcd` and `kustomize` as one program, told apart by its first
// argument: they share most of their code, and one link is quicker than three.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"sigs.k8s.io/kustomize/kustomize/v5/commands"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes kube-apiserver|etcd|kustomize ARGUMENTS")
		os.Exit(64)
	}
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "kube-apiserver":
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	case "etcd":
		etcdmain.Main(os.Args)
	case "kustomize":
		if commands.NewDefaultCommand().Execute() != nil {
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "unknown program:", os.Args[0])
		os.Exit(64)
	}
}
