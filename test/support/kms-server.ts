import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** What the server does with a call: answers as KMS does, answers a fault, or nothing at all. */
export type KmsAnswer = 'well' | 'never' | { readonly status: number; readonly name: string } | KmsReply;
/** These bytes, with this status. */
export interface KmsReply {
  readonly status: number;
  readonly body: string;
}

export interface KmsServer {
  readonly url: string;
  /** The verbs asked for, with their input. */
  readonly asked: { readonly verb: string; readonly input: Readonly<Record<string, unknown>> }[];
  readonly publicKey: KeyObject;
  /** Of the calls to come, until it is said anew. */
  answer: (call: number) => KmsAnswer;
  /** What GetPublicKey tells beside the key. */
  facts: Record<string, unknown>;
  /** Signs with another key than it tells. */
  wrongKey: boolean;
  close(): Promise<void>;
}

const ARN = 'arn:aws:kms:us-east-1:000000000000:key/5f1c2b7e-0000-4000-8000-000000000000';

const faultOf = (name: string) => JSON.stringify({ __type: name, message: 'as it was told' });

/** A fake of the two calls of KMS that Merit makes (AWS JSON 1.1), to answer what the real one would answer once a year. */
export async function kmsServer(curve = 'P-256'): Promise<KmsServer> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const other = generateKeyPairSync('ec', { namedCurve: curve }).privateKey;
  let calls = 0;
  const server = createServer(async (request, response) => {
    const input = (await json(request)) as Record<string, unknown>;
    const verb = String(request.headers['x-amz-target']).replace('TrentService.', '');
    state.asked.push({ verb, input });
    const answer = state.answer(++calls);
    if (answer === 'never') return;
    const [status, body] =
      answer === 'well'
        ? ([200, JSON.stringify(reply(verb, input))] as const)
        : ([answer.status, 'body' in answer ? answer.body : faultOf(answer.name)] as const);
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(body);
  });
  const reply = (verb: string, input: Record<string, unknown>) => {
    if (verb === 'GetPublicKey') {
      const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
      return { KeyId: ARN, PublicKey: key, ...state.facts };
    }
    const message = Buffer.from(String(input.Message), 'base64');
    // A digest is signed as it is; node can only hash by itself, so the caller's message is looked up by its hash.
    const bytes = input.MessageType === 'DIGEST' ? state.messages.get(message.toString('hex'))! : message;
    return { KeyId: ARN, Signature: sign('sha256', bytes, state.wrongKey ? other : privateKey).toString('base64') };
  };
  const state = {
    url: '',
    asked: [] as KmsServer['asked'],
    publicKey,
    answer: (_call: number): KmsAnswer => 'well',
    facts: {
      KeySpec: 'ECC_NIST_P256',
      KeyUsage: 'SIGN_VERIFY',
      SigningAlgorithms: ['ECDSA_SHA_256'],
    } as Record<string, unknown>,
    wrongKey: false,
    messages: new Map<string, Buffer>(),
    /** Lets it sign the digest of this. */
    know: (message: Buffer) => state.messages.set(createHash('sha256').update(message).digest('hex'), message),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return state as KmsServer & typeof state;
}
