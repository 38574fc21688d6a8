#!/bin/sh
# Sets Vault up for the application, and prints the one thing that leaves this container: a
# wrapping token. It is good for two minutes and for one use, and what it yields is a secret-id
# that is good for one login. Whoever finds it afterwards has nothing; if somebody was faster,
# the sidecar's login fails and says so.
set -eu
exec 3>&1 >&2

# wait_for COMMAND...: a minute at most.
wait_for() {
    tries=300
    until "$@" 2>/dev/null; do
        [ $((tries -= 1)) -gt 0 ] || { echo "in a minute there was no success of: $*"; exit 1; }
        sleep 0.2
    done
}

# 2 is "sealed", which is an answer.
answers() { vault status >/dev/null || [ $? -eq 2 ]; }
wait_for answers

# An operator's part. Root token and unseal key stay in this shell, and end with it.
keys=$(vault operator init -key-shares=1 -key-threshold=1)
printf '%s\n' "$keys" | sed -n 's/^Unseal Key 1: //p' | tr -d '\n' | vault write sys/unseal key=- >/dev/null
VAULT_TOKEN=$(printf '%s\n' "$keys" | sed -n 's/^Initial Root Token: //p')
export VAULT_TOKEN
unset keys

vault secrets enable database
connect() {
    printf %s "$POSTGRES_PASSWORD" | vault write database/config/app \
        plugin_name=postgresql-database-plugin allowed_roles=app password_authentication=scram-sha-256 \
        connection_url='postgresql://{{username}}:{{password}}@postgres:5432/app?sslmode=disable' \
        username=vault password=-
}
# PostgreSQL's first password is no secret: it stands in compose.yaml.
wait_for connect
# From here on Vault alone knows that password.
vault write -force database/rotate-root/app
vault write database/roles/app db_name=app default_ttl="$DATABASE_TTL" max_ttl=24h \
    creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"

# `default` has the rest of what the sidecar needs; this is for credentials that it replaces.
vault policy write app - <<'POLICY'
path "database/creds/app" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
POLICY
vault auth enable approle
vault write auth/approle/role/app token_policies=app token_ttl=1h secret_id_num_uses=1 secret_id_ttl=5m
vault write auth/approle/role/app/role-id role_id=app

# A deployment's part.
wrapped=$(vault write -f -wrap-ttl=120s -field=wrapping_token auth/approle/role/app/secret-id)
vault token revoke -self
printf %s "$wrapped" >&3
