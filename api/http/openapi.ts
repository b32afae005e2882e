import swagger from '@fastify/swagger';
import type { FastifyContextConfig, FastifyInstance } from 'fastify';
import { Type } from '../../core/schema.ts';
import { MAX_IDEMPOTENCY_KEY_LENGTH } from './limits.ts';
import { AnyView, replies } from './schemas.ts';

/** OpenAPI 3.1 from the very schemas that requests are checked with, at /openapi.json. */
export function describeApi(app: FastifyInstance, version: string): void {
  void app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Merit',
        version,
        description:
          'Scores models from their evaluation reports, promotes the ones that earn it, and books the capacity that retraining takes.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    // Inline schemas carry their published $id; inside one document it would start a new resolution scope.
    transform: ({ schema, url, route }) => {
      const config = (route.config ?? {}) as FastifyContextConfig;
      const plain = withoutIds(schema) as Record<string, unknown> | undefined;
      return {
        schema: {
          operationId: operationId(String(route.method), url),
          ...plain,
          ...headersOf(config),
          ...(config.open === true ? { security: [] } : {}),
        },
        url: withoutPatterns(url.replaceAll('::', VERB)),
      };
    },
  });
  let document: object | undefined;
  void app.register(async (scope) => {
    const schema = { summary: 'This document', tags: ['operations'], response: replies({ 200: AnyView }) };
    scope.get('/openapi.json', { schema, config: { open: true } }, async () => {
      document ??= published(app.swagger());
      return document;
    });
  });
}

/** Stands for the colon of a verb (`/v1/jobs:plan`) while paths are read, where a colon starts a parameter. */
const VERB = '%3A';

/** `get_v1_jobs_id_why`: what generated clients name their methods by, so it must not change. */
function operationId(method: string, url: string): string {
  const words = publicPath(url)
    .replace('*', 'path')
    .split(/[^A-Za-z0-9]+/);
  return [method.toLowerCase(), ...words.filter((word) => word !== '')].join('_');
}

/** Headers that a route heeds. They are checked where they are used, with codes of their own; here they are only told. */
function headersOf({ keyed, versioned }: FastifyContextConfig): { readonly headers?: object } {
  const key = Type.String({ minLength: 1, maxLength: MAX_IDEMPOTENCY_KEY_LENGTH, pattern: '^[\\x21-\\x7e]+$' });
  const version = Type.Optional(Type.String({ description: 'the ETag that it must still have' }));
  const headers = {
    ...(keyed === true ? { 'Idempotency-Key': key } : {}),
    ...(versioned === true ? { 'If-Match': version } : {}),
  };
  return Object.keys(headers).length === 0 ? {} : { headers: Type.Object(headers) };
}

function withoutPatterns(route: string): string {
  return route.replaceAll(/\([^)]*\)/g, '');
}

/** A route as people write it: `/v1/jobs/:id:cancel`. */
export function publicPath(route: string): string {
  return withoutPatterns(route).replaceAll('::', ':');
}

/** Paths with their verbs, and what is left of a path, which a route takes as `*` and OpenAPI has no word for, as a parameter by a name. */
function published(document: object): object {
  const { paths = {} } = document as { paths?: Record<string, unknown> };
  return {
    ...document,
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, item]) =>
        path.includes('{*}') ? [path.replace('{*}', '{path}'), restNamed(item)] : [path.replace(VERB, ':'), item],
      ),
    ),
  };
}

function restNamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restNamed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, key === 'name' && member === '*' ? 'path' : restNamed(member)]),
  );
}

function withoutIds(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutIds);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, member]) => key !== '$id' || typeof member !== 'string')
      .map(([key, member]) => [key, withoutIds(member)]),
  );
}
