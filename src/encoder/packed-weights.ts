/**
 * Weights that a graph stores in four bits and computes with in eight. `training/` writes a node
 * `csplade.UnpackRows` for each such matrix W [N, K], and what it stands for as a function of the
 * model: any ONNX Runtime can load the file, but it keeps every step of every matrix in floats
 * (5 GB for 106 million weights). Here the nodes become plain int8 weights before it sees them.
 *
 *     codes(n, k) = round((q(n, k) scale(n, b) + least(n, b)) column(k) / row(n)),  b the block of k
 *
 * q: two values a byte, the first in the low bits. Field numbers are those of onnx.proto3.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Domain of operators that only we know. */
export const OUR_DOMAIN = "csplade";

const MODEL_GRAPH = 7;
const MODEL_FUNCTIONS = 25;
const GRAPH_NODE = 1;
const GRAPH_INITIALIZER = 5;
const INT8 = 3;

/** A node that unpacks. */
interface Unpacking {
  readonly inputs: readonly string[];
  readonly output: string;
}

interface Tensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly raw: Uint8Array;
}

/**
 * Reads a model file whose weights have to be unpacked.
 * @returns the model with int8 weights, as a file would hold it; undefined where nothing is packed.
 * @throws Error for a file that is no such model.
 */
export function readUnpacked(file: string): Uint8Array | undefined {
  return hasFunctions(file) ? unpacked(readFileSync(file)) : undefined;
}

/** Whether a model has functions of its own, found without reading its weights. */
function hasFunctions(file: string): boolean {
  const open = openSync(file, "r");
  try {
    const head = new Uint8Array(20);
    for (let at = 0; ;) {
      const read = readSync(open, head, 0, head.length, at);
      if (read === 0) return false;
      const reader = new BinaryReader(head.subarray(0, read));
      const [field, type] = reader.tag();
      if (field === MODEL_FUNCTIONS) return true;
      if (type === WireType.LengthDelimited) {
        const length = reader.uint32();
        at += reader.pos + length;
      } else {
        reader.skip(type, field);
        at += reader.pos;
      }
    }
  } catch {
    return false; // no ONNX file, as ONNX Runtime will say
  } finally {
    closeSync(open);
  }
}

function unpacked(model: Uint8Array): Uint8Array {
  const writer = new BinaryWriter();
  eachPart(model, (field, whole, bytes) => {
    if (field === MODEL_FUNCTIONS) return;
    if (field === MODEL_GRAPH && bytes !== undefined)
      writer.tag(field, WireType.LengthDelimited).bytes(withInt8(bytes));
    else writer.raw(whole);
  });
  return writer.finish();
}

function withInt8(graph: Uint8Array): Uint8Array {
  const unpackings: Unpacking[] = [];
  const tensors = new Map<string, Uint8Array>();
  eachPart(graph, (field, _, bytes) => {
    if (bytes === undefined) return;
    const node = field === GRAPH_NODE ? readUnpacking(bytes) : undefined;
    if (node !== undefined) unpackings.push(node);
    if (field === GRAPH_INITIALIZER) tensors.set(readTensor(bytes).name, bytes);
  });
  const only = new Set(unpackings.flatMap(({ inputs }) => inputs.slice(0, 4)));
  const writer = new BinaryWriter();
  eachPart(graph, (field, whole, bytes) => {
    if (field === GRAPH_NODE && bytes !== undefined && readUnpacking(bytes) !== undefined) return;
    if (field === GRAPH_INITIALIZER && bytes !== undefined && only.has(readTensor(bytes).name)) {
      return;
    }
    writer.raw(whole);
  });
  for (const { inputs, output } of unpackings) {
    const [packed, scales, least, columns, rows] = inputs.map((name) => {
      const bytes = tensors.get(name);
      if (bytes === undefined) throw new Error(`the graph has no weight ${name}`);
      return readTensor(bytes);
    }) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const codes = unpackRows(
      packed.raw,
      halves(scales.raw),
      halves(least.raw),
      singles(columns.raw),
      singles(rows.raw),
    );
    const width = columns.dims[0] as number;
    writer
      .tag(GRAPH_INITIALIZER, WireType.LengthDelimited)
      .bytes(tensorOf(output, [codes.length / width, width], codes));
  }
  return writer.finish();
}

/**
 * int8 codes of W [N, K], as ONNX Runtime computes them: in single precision, halves to even.
 * @param packed [N, K / 2]
 * @param scales [N, blocks], as least
 * @param columns [K]
 * @param rows [N]
 */
export function unpackRows(
  packed: Uint8Array,
  scales: Float32Array,
  least: Float32Array,
  columns: Float32Array,
  rows: Float32Array,
): Int8Array {
  const { fround } = Math;
  const width = columns.length;
  const block = (rows.length * width) / scales.length;
  const codes = new Int8Array(rows.length * width);
  for (let at = 0, b = 0; b < scales.length; b++) {
    const scale = scales[b] as number;
    const lowest = least[b] as number;
    const row = rows[Math.floor(at / width)] as number;
    for (const end = at + block; at < end; at++) {
      const byte = packed[at >> 1] as number;
      const code = at % 2 === 0 ? byte & 15 : byte >> 4;
      const value = fround(fround(code * scale) + lowest);
      codes[at] = toEven(fround(fround(value * (columns[at % width] as number)) / row));
    }
  }
  return codes;
}

function toEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Calls for each field of a message: its number, all of its bytes, and its content if it has a length. */
function eachPart(
  message: Uint8Array,
  take: (field: number, whole: Uint8Array, bytes: Uint8Array | undefined) => void,
): void {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, type] = reader.tag();
    const bytes = type === WireType.LengthDelimited ? reader.bytes() : undefined;
    if (bytes === undefined) reader.skip(type, field);
    take(field, message.subarray(start, reader.pos), bytes);
  }
}

function readUnpacking(node: Uint8Array): Unpacking | undefined {
  const texts = new Map<number, string[]>();
  eachPart(node, (field, _, bytes) => {
    if (bytes === undefined || ![1, 2, 7].includes(field)) return;
    texts.set(field, [...(texts.get(field) ?? []), Buffer.from(bytes).toString("utf8")]);
  });
  if (texts.get(7)?.[0] !== OUR_DOMAIN) return undefined;
  return { inputs: texts.get(1) ?? [], output: texts.get(2)?.[0] ?? "" };
}

function readTensor(tensor: Uint8Array): Tensor {
  const dims: number[] = [];
  let name = "";
  let raw: Uint8Array = new Uint8Array();
  const reader = new BinaryReader(tensor);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) {
      const packed = new BinaryReader(reader.bytes());
      while (packed.pos < packed.len) dims.push(Number(packed.int64()));
    } else if (field === 1) dims.push(Number(reader.int64()));
    else if (field === 8) name = reader.string();
    else if (field === 9) raw = reader.bytes();
    else reader.skip(type, field);
  }
  return { name, dims, raw };
}

function tensorOf(name: string, dims: readonly number[], codes: Int8Array): Uint8Array {
  const writer = new BinaryWriter();
  for (const each of dims) writer.tag(1, WireType.Varint).int64(each);
  writer.tag(2, WireType.Varint).int32(INT8).tag(8, WireType.LengthDelimited).string(name);
  const raw = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  return writer.tag(9, WireType.LengthDelimited).bytes(raw).finish();
}

function singles(raw: Uint8Array): Float32Array {
  return new Float32Array(new Uint8Array(raw).buffer);
}

/** IEEE half precision as single. */
function halves(raw: Uint8Array): Float32Array {
  const bits = new Uint16Array(new Uint8Array(raw).buffer);
  return Float32Array.from(bits, (half) => {
    const sign = half >> 15 === 0 ? 1 : -1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
