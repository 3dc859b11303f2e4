module fibermap/benchmarks/peers/go

go 1.19
