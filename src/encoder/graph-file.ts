/**
 * What an ONNX file says about itself, read without a session: operators, weights, notes of the
 * exporter. Field numbers are those of onnx.proto3; weights themselves are passed over.
 */
import { readFileSync } from "node:fs";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { CspladeError, messageOf } from "../errors/csplade-error.js";
import { OUR_DOMAIN } from "./packed-weights.js";

/** How often an operator stands in a graph, subgraphs included. */
export interface OperatorCount {
  /** `MatMul`, or with a domain that is not ONNX's own `com.microsoft.MatMulNBits`. */
  readonly name: string;
  readonly nodes: number;
}

/** An ONNX file's content. */
export interface GraphFile {
  /** By name. */
  readonly operators: readonly OperatorCount[];
  /** Bytes of all weights as they are stored, in the file or beside it. */
  readonly weight_bytes: number;
  /** Of these, those of half precision that the graph widens before it uses them. */
  readonly widened_bytes: number;
  /** Of the weights, those in half precision. */
  readonly half_bytes: number;
  /** Of the weights, those in four bits that are unpacked to eight before the runtime sees them. */
  readonly packed_bytes: number;
  /** `metadata_props`: notes of the exporter. */
  readonly notes: ReadonlyMap<string, string>;
}

/** Bytes of an element, by TensorProto.DataType; what is not listed has 4 or fewer and is small. */
const ELEMENT_BYTES: Readonly<Record<number, number>> = {
  1: 4, // FLOAT
  2: 1, // UINT8
  3: 1, // INT8
  6: 4, // INT32
  7: 8, // INT64
  9: 1, // BOOL
  10: 2, // FLOAT16
  11: 8, // DOUBLE
  16: 2, // BFLOAT16
  21: 0.5, // UINT4
  22: 0.5, // INT4
};
const UINT8 = 2;
const HALF = new Set([10, 16]);

interface Found {
  readonly operators: Map<string, number>;
  readonly notes: Map<string, string>;
  /** Names of half-precision weights, and their bytes. */
  readonly halves: Map<string, number>;
  /** Names of packed weights, and the bytes of all weights of one byte an element. */
  readonly packed: Set<string>;
  readonly bytes: Map<string, number>;
  /** What Cast nodes read. */
  readonly cast: Set<string>;
  weights: number;
}

/**
 * Reads an ONNX file.
 * @throws CspladeError `model_invalid` if it is none.
 */
export function readGraphFile(file: string): GraphFile {
  const found: Found = {
    operators: new Map(),
    notes: new Map(),
    halves: new Map(),
    packed: new Set(),
    bytes: new Map(),
    cast: new Set(),
    weights: 0,
  };
  try {
    const bytes = readFileSync(file);
    eachField(bytes, {
      7: (graph) => readGraph(graph, found),
      14: (entry) => void found.notes.set(...entryOf(entry)),
    });
  } catch (cause) {
    throw new CspladeError("model_invalid", `${file} is no ONNX file: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (found.operators.size === 0) {
    throw new CspladeError("model_invalid", `${file} is no ONNX file: it has no operators.`);
  }
  const halves = [...found.halves];
  const sum = (some: readonly (readonly [string, number])[]) =>
    some.reduce((all, [, bytes]) => all + bytes, 0);
  return {
    operators: [...found.operators]
      .map(([name, nodes]) => ({ name, nodes }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    weight_bytes: found.weights,
    half_bytes: sum(halves),
    widened_bytes: sum(halves.filter(([name]) => found.cast.has(name))),
    packed_bytes: sum([...found.bytes].filter(([name]) => found.packed.has(name))),
    notes: found.notes,
  };
}

type OnBytes = (bytes: Uint8Array) => void;

/** Calls what is asked for of a message's length-delimited fields, and passes over all others. */
function eachField(message: Uint8Array, wanted: Readonly<Record<number, OnBytes>>): void {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const take = type === WireType.LengthDelimited ? wanted[field] : undefined;
    if (take === undefined) reader.skip(type, field);
    else take(reader.bytes());
  }
}

function readGraph(graph: Uint8Array, found: Found): void {
  eachField(graph, {
    1: (node) => readNode(node, found),
    5: (tensor) => readWeight(tensor, found),
  });
}

function readNode(node: Uint8Array, found: Found): void {
  const inputs: string[] = [];
  let [operator, domain] = ["", ""];
  eachField(node, {
    1: (bytes) => inputs.push(textOf(bytes)),
    4: (bytes) => (operator = textOf(bytes)),
    7: (bytes) => (domain = textOf(bytes)),
    // Attributes may be graphs: the bodies of Loop and If.
    5: (attribute) =>
      eachField(attribute, {
        6: (graph) => readGraph(graph, found),
        11: (graph) => readGraph(graph, found),
      }),
  });
  if (domain === OUR_DOMAIN) {
    found.packed.add(inputs[0] ?? "");
    return;
  }
  const name = domain === "" || domain === "ai.onnx" ? operator : `${domain}.${operator}`;
  found.operators.set(name, (found.operators.get(name) ?? 0) + 1);
  if (operator === "Cast") for (const input of inputs) found.cast.add(input);
}

function readWeight(tensor: Uint8Array, found: Found): void {
  const reader = new BinaryReader(tensor);
  let elements = 1;
  let [type, name] = [0, ""];
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === WireType.LengthDelimited) {
      const dims = new BinaryReader(reader.bytes());
      while (dims.pos < dims.len) elements *= Number(dims.int64());
    } else if (field === 1) elements *= Number(reader.int64());
    else if (field === 2) type = reader.int32();
    else if (field === 8) name = textOf(reader.bytes());
    else reader.skip(wire, field);
  }
  const bytes = elements * (ELEMENT_BYTES[type] ?? 4);
  found.weights += bytes;
  if (type === UINT8) found.bytes.set(name, bytes);
  if (HALF.has(type)) found.halves.set(name, bytes);
}

function entryOf(entry: Uint8Array): [string, string] {
  let [key, value] = ["", ""];
  eachField(entry, {
    1: (bytes) => (key = textOf(bytes)),
    2: (bytes) => (value = textOf(bytes)),
  });
  return [key, value];
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}
