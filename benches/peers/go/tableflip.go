package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

// As the documentation of tableflip has it.
func main() {
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		log.Fatalln("no upgrader:", err)
	}
	defer upgrader.Stop()
	go func() {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		for range hangups {
			if err := upgrader.Upgrade(); err != nil {
				log.Println("not restarted:", err)
			}
		}
	}()
	listener, err := upgrader.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatalln("not bound:", err)
	}
	server := http.Server{Handler: handler()}
	go server.Serve(listener)
	if err := upgrader.Ready(); err != nil {
		log.Fatalln("not ready:", err)
	}
	<-upgrader.Exit()
	// As long as endless's hammer time.
	deadline, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server.Shutdown(deadline)
}
