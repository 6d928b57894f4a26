// Stores the models of oidc-provider in Redis, with one round trip for each of its calls where its contract allows that.
import { Redis } from 'ioredis';

const OF_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

export function redisAdapter(url) {
  const redis = new Redis(url, { keyPrefix: 'oidc:' });

  return class RedisAdapter {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload, seconds) {
      const changes = redis.multi().set(this.key(id), JSON.stringify(payload), 'EX', seconds);
      if (payload.uid) changes.set(`uid:${payload.uid}`, id, 'EX', seconds);
      if (payload.grantId && OF_GRANT.has(this.model)) {
        changes.rpush(`grant:${payload.grantId}`, this.key(id)).expire(`grant:${payload.grantId}`, seconds);
      }
      await changes.exec();
    }

    async find(id) {
      const found = await redis.get(this.key(id));
      return found ? JSON.parse(found) : undefined;
    }

    async findByUid(uid) {
      const id = await redis.get(`uid:${uid}`);
      return id ? this.find(id) : undefined;
    }

    async consume(id) {
      const payload = await this.find(id);
      if (payload) {
        payload.consumed = Math.floor(Date.now() / 1000);
        await redis.set(this.key(id), JSON.stringify(payload), 'KEEPTTL');
      }
    }

    async destroy(id) {
      await redis.del(this.key(id));
    }

    async revokeByGrantId(grantId) {
      const keys = await redis.lrange(`grant:${grantId}`, 0, -1);
      await redis.del(`grant:${grantId}`, ...keys);
    }
  };
}
