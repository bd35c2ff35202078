# The service and nothing else. For a build that can be repeated, name the base by its digest:
#   docker build --build-arg BASE=python@sha256:… --tag imagestream-listener .
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY listener listener
# listener/sandbox/imagestreams.yaml is a link to here.
COPY charts/imagestream-listener/files charts/imagestream-listener/files
# An environment without pip, made for the place where the next stage puts it.
RUN python -m venv --without-pip /usr/local/listener \
 && python -m pip --python /usr/local/listener/bin/python install --no-cache-dir '.[speed]'

FROM ${BASE}
LABEL org.opencontainers.image.title="imagestream-listener" \
      org.opencontainers.image.description="Image streams for every Kubernetes cluster" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN python -m pip uninstall --yes --root-user-action=ignore pip
COPY --from=build /usr/local/listener /usr/local/listener
# Bytecode was written when the packages were installed; at run time the file system may be read-only. The Kubernetes
# client asks for a home when it is imported, and a number has none. The trim threshold is glibc's own default: named, it
# stays, where pages of a large list would else raise it and keep some 8 MiB from the system.
ENV PATH=/usr/local/listener/bin:$PATH \
    MALLOC_TRIM_THRESHOLD_=131072 \
    HOME=/ \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root. It owns nothing.
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["listener"]
CMD ["serve"]
