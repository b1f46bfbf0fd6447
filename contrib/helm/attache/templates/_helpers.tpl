{{- define "attache.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "attache.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "attache.labels" -}}
{{ include "attache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "attache.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "attache.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* proxy.toml, with the [cache] of the values behind it. */ -}}
{{- define "attache.config" -}}
{{ .Values.config | trimSuffix "\n" }}
{{- if .Values.cache.shared }}

[cache]
shared = {{ .Values.cache.shared | toJson }}
key = [
{{- range .Values.cache.keys }}
  { file = {{ printf "/var/run/secrets/attache/%s" . | toJson }} },
{{- end }}
]
{{- with .Values.cache.password }}
password = { file = {{ printf "/var/run/secrets/attache/%s" . | toJson }} }
{{- end }}
prefix = {{ .Values.cache.prefix | toJson }}
{{- end }}
{{- end -}}
