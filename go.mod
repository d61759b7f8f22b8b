module inbox

go 1.26
