{{/* The name of all objects. 52 characters leave room for "-monitoring" in the 63 of a Service. */}}
{{- define "listener.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of what is in no namespace: the same release may be in two of them. */}}
{{- define "listener.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "listener.fullname" .) -}}
{{- end -}}

{{/* Not empty where OpenShift serves ImageStreams itself: nobody else has ImageStreamImports. */}}
{{- define "listener.isOpenShift" -}}
{{- if .Capabilities.APIVersions.Has "image.openshift.io/v1/ImageStreamImport" }}true{{ end -}}
{{- end -}}

{{- define "listener.serviceAccountName" -}}
{{- $ours := ternary (include "listener.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $ours -}}
{{- end -}}

{{- define "listener.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What finds our Pods, and never changes: a Deployment's selector is immutable. */}}
{{- define "listener.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "listener.labels" -}}
{{ include "listener.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The least rights that the settings ask for. On OpenShift there is nothing to do but to ask for imports. */}}
{{- define "listener.rules" -}}
{{- if include "listener.isOpenShift" . -}}
- apiGroups: [image.openshift.io]
  resources: [imagestreams]
  verbs: [get, list, watch]
- apiGroups: [image.openshift.io]
  resources: [imagestreamimports]
  verbs: [create]
{{- else -}}
{{ include "listener.ownRules" . }}
{{- end -}}
{{- end -}}

{{- define "listener.ownRules" -}}
{{- $integrated := false -}}
{{- range .Values.settings.registries -}}
{{- $integrated = or $integrated (.integrated | default false) -}}
{{- end -}}
- apiGroups: [image.openshift.io]
  resources: [imagestreams]
  verbs: [get, list, watch, patch{{ if $integrated }}, create{{ end }}]
- apiGroups: [image.openshift.io]
  resources: [imagestreams/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  verbs: [get, list, watch, patch]
- apiGroups: [batch]
  resources: [cronjobs, jobs]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods, replicationcontrollers]
  verbs: [get, list, watch, patch]
{{- range .Values.settings.workloads }}
- apiGroups: [{{ ternary (splitList "/" .apiVersion | first) "" (contains "/" .apiVersion) | quote }}]
  resources: [{{ .plural | default (printf "%ss" (lower .kind)) }}]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .Values.rbac.openshift }}
- apiGroups: [apps.openshift.io]
  resources: [deploymentconfigs]
  verbs: [get, list, watch, patch]
- apiGroups: [build.openshift.io]
  resources: [buildconfigs]
  verbs: [get, list, watch]
- apiGroups: [build.openshift.io]
  resources: [buildconfigs/instantiate]
  verbs: [create]
{{- end }}
{{- if .Values.rbac.shipwright }}
- apiGroups: [shipwright.io]
  resources: [builds]
  verbs: [get, list, watch, patch]
- apiGroups: [shipwright.io]
  resources: [buildruns]
  verbs: [get, create]
{{- end }}
{{- if .Values.rbac.tekton }}
- apiGroups: [tekton.dev]
  resources: [pipelines]
  verbs: [get, list, watch, patch]
- apiGroups: [tekton.dev]
  resources: [pipelineruns]
  verbs: [get, create]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.pullSecrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [list]
{{- end }}
{{- end -}}

{{/* What API servers call the webhook, and look for in its certificate. */}}
{{- define "listener.admissionHost" -}}
{{- printf "%s-admission.%s.svc" (include "listener.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* The settings of the lookup. */}}
{{- define "listener.lookupSettings" -}}
enabled: true
{{- if .Values.lookup.certManager.enabled }}
certFile: /etc/listener/certificate/tls.crt
keyFile: /etc/listener/certificate/tls.key
{{- else }}
secret: {{ .Release.Namespace }}/{{ include "listener.fullname" . }}-lookup
hosts: [{{ include "listener.admissionHost" . }}]
webhook: {{ include "listener.clusterName" . }}
{{- end }}
{{- end -}}

{{/* The kinds whose images are looked up. A Job's pod spec never changes. */}}
{{- define "listener.lookupKinds" -}}
- {group: "", version: v1, resources: [pods, replicationcontrollers], operations: [CREATE, UPDATE]}
- group: apps
  version: v1
  resources: [deployments, statefulsets, daemonsets, replicasets]
  operations: [CREATE, UPDATE]
- {group: batch, version: v1, resources: [cronjobs], operations: [CREATE, UPDATE]}
- {group: batch, version: v1, resources: [jobs], operations: [CREATE]}
{{- if .Values.rbac.openshift }}
- {group: apps.openshift.io, version: v1, resources: [deploymentconfigs], operations: [CREATE, UPDATE]}
{{- end }}
{{- range .Values.settings.workloads }}
- group: {{ ternary (splitList "/" .apiVersion | first) "" (contains "/" .apiVersion) | quote }}
  version: {{ splitList "/" .apiVersion | last }}
  resources: [{{ .plural | default (printf "%ss" (lower .kind)) }}]
  operations: [CREATE, UPDATE]
{{- end }}
{{- end -}}

{{/* Where these kinds have their pod specs: a Pod, a CronJob, all others. */}}
{{- define "listener.lookupPaths" -}}
{{- $paths := list "spec" "spec.template.spec" "spec.jobTemplate.spec.template.spec" -}}
{{- range .Values.settings.workloads -}}
{{- $paths = append $paths .podSpecPath -}}
{{- end -}}
{{- uniq $paths | toYaml -}}
{{- end -}}

{{/* The fields of an object that lead there. */}}
{{- define "listener.lookupRoots" -}}
{{- $roots := list -}}
{{- range include "listener.lookupPaths" . | fromYamlArray -}}
{{- $roots = append $roots (splitList "." . | first) -}}
{{- end -}}
{{- uniq $roots | toYaml -}}
{{- end -}}

{{/* Where registries find the hooks, for NOTES: each way that is on, the outermost first. */}}
{{- define "listener.hookUrls" -}}
{{- $urls := list -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- $scheme := ternary "https" "http" (not (empty .tls)) -}}
{{- range .hosts | default (list "HOST-OF-THE-INGRESS") -}}
{{- $urls = append $urls (printf "%s://%s/hooks" $scheme .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.httpRoute -}}
{{- if .enabled -}}
{{- range .hostnames | default (list "HOST-OF-THE-GATEWAY") -}}
{{- $urls = append $urls (printf "https://%s/hooks" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $name := include "listener.fullname" . -}}
{{- if eq .Values.service.type "LoadBalancer" -}}
{{- $urls = append $urls (printf "http://ADDRESS:%v/hooks" .Values.service.port) -}}
{{- else if eq .Values.service.type "NodePort" -}}
{{- $urls = append $urls "http://NODE:PORT/hooks" -}}
{{- end -}}
{{- $urls = append $urls (printf "http://%s.%s.svc:%v/hooks" $name .Release.Namespace .Values.service.port) -}}
{{- toYaml $urls -}}
{{- end -}}
