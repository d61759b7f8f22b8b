#!/bin/sh
# Two peers and one message, with curl alone.
#
#     sh hello.sh                                        (with a server on this machine)
#     INBOX_SERVER=https://example.com/inbox sh hello.sh
set -eu
server=${INBOX_SERVER:-http://localhost:3000/inbox}
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
alice="alice-$(random):$(random)" # an id and a password of her own choice
bob="bob-$(random):$(random)"

# Bob asks for messages. That opens his inbox, for a minute from now. Nothing is
# there yet.
curl -fsS -u "$bob" "$server?after=0&wait=0"

# Alice sends one. If the answer gets lost, curl sends it again, and the key sees to
# it that it arrives once.
curl -fsS -u "$alice" --retry 5 -H "Idempotency-Key: $(random)" \
	--data-binary 'hello, Bob' "$server?to=${bob%%:*}"

# Bob asks again. Had nothing been there, this would have waited. The message stays
# in the inbox until he acknowledges it.
answer=$(curl -fsS -u "$bob" -H 'Accept: application/json' "$server?after=0")
printf '%s\n' "$answer"

# He acknowledges it with the cursor, and need not wait for another.
cursor=$(printf '%s' "$answer" | sed 's/^{"cursor":"\([^"]*\)".*/\1/')
curl -fsS -u "$bob" "$server?after=$cursor&limit=0"

# Nobody needs the inboxes any more.
curl -fsS -u "$alice" -X DELETE "$server"
curl -fsS -u "$bob" -X DELETE "$server"
