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
