#!/bin/sh
# Make the cluster the first time, then become the server. The password is that of the role `fumehood`, which owns the one
# database and nothing else; the superuser `postgres` has none, and is reached from inside the container only (psql -U postgres).
set -eu
home=/var/lib/postgresql
data=$home/cluster
secret=/run/secrets/postgres_password

if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$data.new" # A first start that was cut short.
    initdb --pgdata "$data.new" --username postgres --auth-local peer --auth-host reject --encoding UTF8 --locale C.UTF-8 --data-checksums
    echo "host fumehood fumehood samenet scram-sha-256" >>"$data.new/pg_hba.conf"
    # Hexadecimal digits only, so there is nothing to quote.
    password=$(tr -cd 0-9a-f <"$secret")
    postgres --single -D "$data.new" postgres >/dev/null <<SQL
CREATE ROLE fumehood LOGIN PASSWORD '$password';
CREATE DATABASE fumehood OWNER fumehood;
SQL
    mv "$data.new" "$data"
fi
exec postgres -D "$data" \
    -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=200 -c jit=off \
    -c log_destination=stderr -c log_min_duration_statement=-1 -c log_statement=none -c log_parameter_max_length=0 \
    -c log_parameter_max_length_on_error=0 -c log_min_error_statement=panic
