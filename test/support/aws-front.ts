/**
 * What Amazon OpenSearch Service asks of a request, in front of a real OpenSearch: a signature, which
 * is made here again by AWS's own signer from the very bytes that came, and compared.
 */
import { request, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";
import { startFront, type Front } from "./front.js";

/** Whom the front lets in, and for what. */
export interface AwsIdentity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly region: string;
  readonly service: "es" | "aoss";
}

/** A running front. */
export interface AwsFront extends Front {
  /** Requests that were let in, and that were not. */
  readonly counts: { right: number; wrong: number };
}

/** Starts one on a free port of the loopback. Without a cluster it answers `{}` itself. */
export async function startAwsFront(
  identity: AwsIdentity,
  opensearchUrl?: string,
): Promise<AwsFront> {
  const counts = { right: 0, wrong: 0 };
  const front = await startFront((incoming, outgoing) => {
    void (async () => {
      const body = await buffer(incoming);
      outgoing.setHeader("content-type", "application/json");
      if (!(await isSigned(incoming, body, identity))) {
        counts.wrong += 1;
        outgoing.statusCode = 403;
        outgoing.end('{"message":"The request signature we calculated does not match."}');
        return;
      }
      counts.right += 1;
      if (opensearchUrl === undefined) {
        outgoing.end("{}");
        return;
      }
      const headers = { ...incoming.headers };
      delete headers.authorization;
      delete headers.host;
      request(`${opensearchUrl}${incoming.url}`, { method: incoming.method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      })
        .on("error", () => outgoing.destroy())
        .end(body);
    })();
  });
  return { ...front, counts };
}

/** Whether a request has the signature that it must have. */
async function isSigned(
  { method = "", url = "", headers }: IncomingMessage,
  body: Buffer,
  { region, service, ...credentials }: AwsIdentity,
): Promise<boolean> {
  const named = /SignedHeaders=([^,]+)/.exec(headers.authorization ?? "")?.[1]?.split(";");
  const signedAt = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(headers["x-amz-date"]));
  if (named === undefined || signedAt === null) return false;
  const [, year, month, day, hour, minute, second] = signedAt;
  const signer = new SignatureV4({ credentials, region, service, sha256: Sha256 });
  const target = new URL(url, "http://cluster.invalid");
  const query: Record<string, string[]> = {};
  for (const [name, value] of target.searchParams) (query[name] ??= []).push(value);
  const signed = await signer.sign(
    {
      method,
      protocol: "http:",
      hostname: "cluster.invalid",
      path: target.pathname,
      query,
      headers: Object.fromEntries(named.map((name) => [name, String(headers[name])])),
      body,
    },
    { signingDate: new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) },
  );
  return signed.headers.authorization === headers.authorization;
}
