# Two commands do everything: `make run` and `make test`. Both can be run again at any time, and do only what is missing.
# FUMEHOOD_HOME, FUMEHOOD_API_PORT: another place or port for the service, as in `make run FUMEHOOD_API_PORT=9000`.
# FUMEHOOD_STORE=postgres: a new home keeps its jobs in PostgreSQL instead of SQLite.
.DEFAULT_GOAL := help
.PHONY: help run start test audit bench docs notebook stop logs uninstall

help:
	@echo "make run        set everything up, start the service, run the example"
	@echo "make start      the same without the example"
	@echo "make test       set everything up, run every test"
	@echo "make audit      write what is inside (SBOMs) into out/, and look up what is known against it"
	@echo "make bench      measure the service against its baselines (a quarter of an hour)"
	@echo "make docs       build the documentation's site into site/"
	@echo "make notebook   open the example notebook in JupyterLab"
	@echo "make stop       stop the service; what it stores stays"
	@echo "make logs       follow the service's log"
	@echo "make uninstall  erase the service, what it stores, its images and .venv (asks first; FORCE=1 does not)"

run:
	@sh setup/packages.sh
	@python3 -B setup run

start:
	@sh setup/packages.sh
	@python3 -B setup serve

test:
	@sh setup/packages.sh test
	@python3 -B setup test $(ARGS)

audit:
	@sh setup/packages.sh
	@python3 -B setup audit

bench:
	@sh setup/packages.sh bench
	@python3 -B setup bench $(ARGS)

docs:
	@python3 -B setup docs

notebook:
	@sh setup/packages.sh
	@python3 -B setup notebook

stop logs uninstall:
	@python3 -B setup $@
