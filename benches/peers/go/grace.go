package main

import (
	"log"
	"net/http"
	"os"

	"github.com/facebookgo/grace/gracehttp"
)

// As the documentation of grace has it.
func main() {
	if err := gracehttp.Serve(&http.Server{Addr: os.Args[1], Handler: handler()}); err != nil {
		log.Fatalln(err)
	}
}
