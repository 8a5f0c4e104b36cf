{{- define "sextant.labels" -}}
app.kubernetes.io/part-of: sextant
{{- end }}

{{- /* An image by its digest, or by its tag where it has none. */ -}}
{{- define "sextant.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "sextant.modelResources" -}}
{{- $gpu := dict }}
{{- if .Values.model.gpu.enabled }}{{ $gpu = dict "nvidia.com/gpu" (toString .Values.model.gpu.count) }}{{ end }}
{{- with .Values.model.resources }}
requests:
  {{- toYaml (merge (dict "cpu" .cpu "memory" .memory.request) $gpu) | nindent 2 }}
limits:
  {{- toYaml (merge (dict "cpu" .cpu "memory" .memory.limit) $gpu) | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What the controller, the autoscaler and the runs call; an address that nothing answers at is an error. */ -}}
{{- define "sextant.prometheus" -}}
{{- if .Values.monitoring.url }}{{ .Values.monitoring.url }}
{{- else if .Values.monitoring.enabled }}http://prometheus.{{ .Values.namespaces.system }}.svc:9090
{{- else }}{{ fail "monitoring.enabled is false: name another Prometheus in monitoring.url, or set rollout.enabled and autoscaling.enabled to false" }}
{{- end }}
{{- end }}

{{- define "sextant.mlflow" -}}
{{- if .Values.mlflow.url }}{{ .Values.mlflow.url }}
{{- else if .Values.mlflow.enabled }}http://mlflow.{{ .Values.namespaces.system }}.svc:5000
{{- else }}{{ fail "mlflow.enabled is false: name another MLflow in mlflow.url, or set rollout.enabled and trigger.enabled to false" }}
{{- end }}
{{- end }}

{{- define "sextant.port" -}}
{{- $url := urlParse . }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}
