# The service and nothing else:
#
#   docker build --tag imagestream-listener .
#
# The same files again, later: name the base by its digest, and the packages as an earlier build wrote them down.
#
#   docker build --build-arg BASE=python@sha256:… \
#     --build-arg VERSIONS="$(docker run --rm --entrypoint cat IMAGE /usr/local/listener/versions.txt)" .
#
# The whole image has the same digest where the builder also dates what it writes itself: buildah with `--timestamp`,
# BuildKit with the build argument SOURCE_DATE_EPOCH and `--output …,rewrite-timestamp=true`. Further labels, such as
# org.opencontainers.image.revision, are given with `--label`.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# `name==version`, one a line, for every package and the build backend. Empty: the newest that pyproject.toml allows.
ARG VERSIONS=""
# Files are dated so. A wheel is a zip, which knows no time before 1980.
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY listener listener
# listener/sandbox/imagestreams.yaml is a link to it.
COPY charts/imagestream-listener/files/imagestreams.yaml charts/imagestream-listener/files/
# An environment without pip, made for the place where the next stage puts it. Older pips hold the build backend to
# PIP_CONSTRAINT, newer ones to PIP_BUILD_CONSTRAINT.
RUN printf '%s\n' "$VERSIONS" > versions.txt \
 && export PIP_CONSTRAINT=/source/versions.txt PIP_BUILD_CONSTRAINT=/source/versions.txt \
 && python -m venv --without-pip /usr/local/listener \
 && python -m pip --python /usr/local/listener/bin/python install --no-compile '.[speed,otel]'
WORKDIR /usr/local/listener
# Bytecode that is taken unseen: nobody changes the sources, and a look costs time at each start. Most of the Kubernetes
# client is never imported.
RUN python -m pip --python bin/python freeze --exclude imagestream-listener > versions.txt \
 && sed -n 's/^Generator: hatchling /hatchling==/p' lib/python*/site-packages/imagestream_listener-*/WHEEL >> versions.txt \
 && python -m compileall -q -f --invalidation-mode unchecked-hash -x '/kubernetes_asyncio/client/(api|models)/[^_]' lib \
 && find . -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE}
ARG BASE
LABEL org.opencontainers.image.title="imagestream-listener" \
      org.opencontainers.image.description="Image streams for every Kubernetes cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=build /usr/local/listener /usr/local/listener
# No pip, nor what could bring it back. Python's own library has no bytecode in the official images, and a read-only
# root cannot keep any, so each start would make it anew: whatever our modules import gets some here, of the one kind
# that does not depend on dates. That each module can be imported is thereby seen, too.
RUN export PYTHONDONTWRITEBYTECODE=1 \
 && python -m pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel \
 && library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -rf "$library/ensurepip" \
 && /usr/local/listener/bin/python -c 'import importlib, pkgutil, sys, listener, uvloop; \
               names = [found.name for found in pkgutil.walk_packages(listener.__path__, "listener.")]; \
               [importlib.import_module(name) for name in names if name != "listener.__main__"]; \
               files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]; \
               print(*(file for file in sorted(set(files)) if file.startswith(sys.argv[1])), sep="\n")' \
    "$library/" > /tmp/imported \
 && python -m compileall -q --invalidation-mode unchecked-hash -i /tmp/imported \
 && rm /tmp/imported
# The Kubernetes client asks for a home when it is imported, and a number has none. The trim threshold is glibc's own
# default: named, it stays, where pages of a large list would else raise it and keep some 8 MiB from the system.
ENV PATH=/usr/local/listener/bin:$PATH \
    MALLOC_TRIM_THRESHOLD_=131072 \
    HOME=/ \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root. It owns nothing.
USER 65532:65532
# Hooks, monitoring, admission.
EXPOSE 8080 8081 8443
ENTRYPOINT ["listener"]
CMD ["serve"]
