/** Certificates for servers of tests. */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { runProgram } from "../../src/servers/program.js";

/** An authority (`ca.pem`), and one certificate of it for this machine (`node.pem`, `node-key-for-server.pem`). */
export async function makeCertificates(openssl: string, folder: string): Promise<void> {
  const at = (name: string): string => path.join(folder, name);
  const run = async (...args: string[]): Promise<void> => {
    const { status, output } = await runProgram(openssl, args, { deadlineMs: 60_000 });
    if (status !== 0) throw new Error(`openssl ${args[0] ?? ""}: ${output}`);
  };
  const key = ["-newkey", "rsa:2048", "-nodes"];
  const authority = ["-keyout", at("ca-key.pem"), "-out", at("ca.pem"), "-subj", "/CN=test"];
  await run("req", "-x509", ...key, ...authority, "-days", "2");
  const node = ["-keyout", at("node-key.pem"), "-out", at("node.csr"), "-subj", "/CN=node"];
  await run("req", ...key, ...node);
  await writeFile(
    at("node.ext"),
    "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
  );
  const signer = ["-CA", at("ca.pem"), "-CAkey", at("ca-key.pem"), "-CAcreateserial"];
  const signed = ["-in", at("node.csr"), "-out", at("node.pem"), "-extfile", at("node.ext")];
  await run("x509", "-req", ...signed, ...signer, "-days", "2");
  // openssl writes keys for its caller alone; the server is another user.
  await writeFile(at("node-key-for-server.pem"), await readFile(at("node-key.pem")));
}
