import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

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
      const open = (route.config as { open?: boolean } | undefined)?.open === true;
      const plain = withoutIds(schema) as Record<string, unknown> | undefined;
      return {
        schema: { ...plain, ...(open ? { security: [] } : {}) },
        url: withoutPatterns(url.replaceAll('::', VERB)),
      };
    },
  });
  let document: object | undefined;
  void app.register(async (scope) => {
    scope.get('/openapi.json', { schema: { hide: true }, config: { open: true } }, async () => {
      document ??= withVerbs(app.swagger());
      return document;
    });
  });
}

/** Stands for the colon of a verb (`/v1/jobs:plan`) while paths are read, where a colon starts a parameter. */
const VERB = '%3A';

function withoutPatterns(route: string): string {
  return route.replaceAll(/\([^)]*\)/g, '');
}

/** A route as people write it: `/v1/jobs/:id:cancel`. */
export function publicPath(route: string): string {
  return withoutPatterns(route).replaceAll('::', ':');
}

function withVerbs(document: object): object {
  const { paths = {} } = document as { paths?: Record<string, unknown> };
  return {
    ...document,
    paths: Object.fromEntries(Object.entries(paths).map(([path, item]) => [path.replace(VERB, ':'), item])),
  };
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
