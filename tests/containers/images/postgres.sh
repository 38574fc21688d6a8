# What the official image does at its first start, as far as compose.yaml asks for it.
set -eu
data=/var/lib/postgresql/data
printf %s "$POSTGRES_PASSWORD" >/tmp/password
initdb -D "$data" -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 --locale=C -E UTF8 >/dev/null
rm /tmp/password
echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$data" postgres >/dev/null
exec postgres -D "$data" -c listen_addresses='*'
