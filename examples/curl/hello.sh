#!/bin/sh
# Two peers and one message, with curl alone. By default, the server is on this machine.
#
#     sh hello.sh
#     INBOX_SERVER=https://example.com/inbox sh hello.sh
set -eu
server=${INBOX_SERVER:-http://localhost:3000/inbox}
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
alice="alice-$(random):$(random)" # her own choice of id and password
bob="bob-$(random):$(random)"

# Bob polls. This opens his inbox for a minute. It is still empty.
curl -fsS -u "$bob" "$server?after=0&wait=0"

# Alice sends a message. If the response is lost, curl retries. The key makes the message
# arrive only once.
curl -fsS -u "$alice" --retry 5 -H "Idempotency-Key: $(random)" \
	--data-binary 'hello, Bob' "$server?to=${bob%%:*}"

# Bob polls again. If his inbox were empty, this would wait. The message stays in the
# inbox until he acknowledges it.
answer=$(curl -fsS -u "$bob" -H 'Accept: application/json' "$server?after=0")
printf '%s\n' "$answer"

# He acknowledges it with the cursor, without waiting for another message.
cursor=$(printf '%s' "$answer" | sed 's/^{"cursor":"\([^"]*\)".*/\1/')
curl -fsS -u "$bob" "$server?after=$cursor&limit=0"

# Both close their inboxes.
curl -fsS -u "$alice" -X DELETE "$server"
curl -fsS -u "$bob" -X DELETE "$server"
