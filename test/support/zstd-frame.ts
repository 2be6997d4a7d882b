/** Zstandard data that holds its content as it is: there is no compressor to test with, and needs to be none. */

/** Most bytes of a block. */
const BLOCK_BYTES = 131_072;

/** A frame of raw blocks (RFC 8878), without a checksum. */
export function zstdFrame(content: Buffer): Buffer {
  // Magic, a descriptor that asks for nothing, a window of 1 MiB.
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50])];
  for (let at = 0; at === 0 || at < content.length; at += BLOCK_BYTES) {
    const block = content.subarray(at, at + BLOCK_BYTES);
    const isLast = at + BLOCK_BYTES >= content.length ? 1 : 0;
    const header = Buffer.alloc(3);
    header.writeUIntLE(block.length * 8 + isLast, 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}
