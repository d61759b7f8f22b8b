{{- define "inbox.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "inbox.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "inbox.labels" -}}
{{ include "inbox.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
{{- end -}}

{{- define "inbox.secret" -}}
{{- default (include "inbox.fullname" .) .Values.secret.existing -}}
{{- end -}}

{{- define "inbox.hostNetwork" -}}
{{- if and .Values.relay.enabled (eq .Values.relay.exposure "hostNetwork") }}true{{ end -}}
{{- end -}}

{{/* Values that contradict each other stop the installation with a sentence. */}}
{{- define "inbox.check" -}}
{{- $v := .Values -}}
{{- if and $v.redis.url (not $v.secret.existing) (not $v.secret.pepper) -}}
{{- fail "redis.url needs a pepper that all servers share: set secret.pepper (try: openssl rand -hex 32) or secret.existing" -}}
{{- end -}}
{{- if and (not $v.redis.url) (gt (int $v.replicas) 1) -}}
{{- fail (printf "replicas is %d, but servers share inboxes only through Redis: set redis.url" (int $v.replicas)) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.redis.url) -}}
{{- fail "autoscaling needs Redis: set redis.url" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.metrics.enabled) -}}
{{- fail "autoscaling counts waiting peers in the metrics: set metrics.enabled" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.enabled" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.trustedProxies) -}}
{{- fail "behind an Ingress all clients would count as one address: set trustedProxies to the addresses of its pods" -}}
{{- end -}}
{{- if and $v.relay.enabled (not $v.relay.host) (eq $v.relay.mode "closed") -}}
{{- fail "the relay needs a name that clients reach: set relay.host, or relay.enabled to false" -}}
{{- end -}}
{{- if and $v.relay.enabled (eq $v.relay.mode "open") (ne $v.relay.exposure "hostNetwork") -}}
{{- fail "relay.mode open uses a range of UDP ports of the node: set relay.exposure to hostNetwork" -}}
{{- end -}}
{{- end -}}
