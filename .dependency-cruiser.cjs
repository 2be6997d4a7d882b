/**
 * Imports go one way: a room may import only the rooms listed for it here
 * (docs/architecture.md shows the same map). `npm run check` fails otherwise.
 */
const mayImport = {
  errors: [],
  sparse: ["errors"],
  config: ["errors"],
  text: ["errors", "sparse"],
  cluster: ["errors", "config"],
  encoder: ["errors", "config", "sparse", "text"],
  index: ["errors", "config", "sparse", "cluster"],
  query: ["errors", "config", "sparse", "cluster"],
  sources: ["errors", "config", "cluster"],
  queue: ["errors", "config"],
  observe: ["errors", "config"],
  servers: ["errors", "config"],
  pipeline: [
    "errors",
    "config",
    "sparse",
    "text",
    "encoder",
    "cluster",
    "index",
    "sources",
    "queue",
    "observe",
  ],
  reindex: [
    "errors",
    "config",
    "sparse",
    "text",
    "encoder",
    "cluster",
    "index",
    "query",
    "sources",
    "queue",
    "observe",
    "pipeline",
  ],
  searcher: [
    "errors",
    "config",
    "sparse",
    "text",
    "encoder",
    "cluster",
    "index",
    "query",
    "pipeline",
  ],
  evaluate: [
    "errors",
    "config",
    "sparse",
    "encoder",
    "cluster",
    "index",
    "query",
    "sources",
    "queue",
    "pipeline",
  ],
  gateway: ["errors", "config", "sparse", "text", "encoder", "cluster", "index", "query", "queue"],
};

const rooms = Object.keys(mayImport);

module.exports = {
  forbidden: [
    {
      name: "no-circular",
      severity: "error",
      comment: "A cycle means two files are one noun.",
      from: {},
      to: { circular: true },
    },
    ...rooms.map((room) => ({
      name: `one-way-${room}`,
      severity: "error",
      comment: `src/${room} may import only: ${[room, ...mayImport[room]].join(", ")}`,
      from: { path: `^src/${room}/` },
      to: { path: "^src/", pathNot: `^src/(${[room, ...mayImport[room]].join("|")})/` },
    })),
    {
      name: "onnx-behind-one-module",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/encoder/onnx-session\\.ts$" },
      to: { path: "node_modules/onnxruntime-node" },
    },
    {
      name: "redis-behind-one-room",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(queue|servers)/" },
      to: { path: "node_modules/(bullmq|ioredis|@bull-board)" },
    },
    {
      name: "opensearch-behind-one-room",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/cluster/" },
      to: { path: "node_modules/@opensearch-project" },
    },
    {
      name: "forwarding-behind-one-module",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/gateway/upstream\\.ts$" },
      to: { path: "node_modules/undici" },
    },
    {
      name: "src-never-imports-tests",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(test|bench|examples)/" },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
