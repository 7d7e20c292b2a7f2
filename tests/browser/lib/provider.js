// A real OpenID Connect provider on loopback, with people of its own and a page that asks for a name.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

export const CLIENT = "workspaced";
export const SECRET = "not a secret here";

/** A new signing key, RSA as most providers have it. */
function newKeys(kid) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { keys: [{ ...privateKey.export({ format: "jwk" }), kid, alg: "RS256", use: "sig" }] };
}

/**
 * Starts it for a redirect URI. `people` maps a name to the claims of an account.
 * @param {string} redirect
 * @param {Record<string, Record<string, unknown>>} people
 */
export async function startProvider(redirect, people) {
  let made;
  const server = createServer((request, response) => {
    const [, place, uid] = request.url.split("/");
    if (place === "interaction")
      return request.method === "POST" ? logIn(request, response) : ask(response, uid);
    return made.callback()(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${server.address().port}`;

  function ask(response, uid) {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(
      `<!doctype html><title>Provider</title><form method="post" action="/interaction/${uid}">
       <label>Name <input name="login"></label><button>Log in</button></form>`,
    );
  }
  async function logIn(request, response) {
    let body = "";
    for await (const piece of request) body += piece;
    const accountId = new URLSearchParams(body).get("login");
    await made.interactionFinished(request, response, { login: { accountId } });
  }
  function build(kid) {
    made = new Provider(issuer, {
      clients: [
        {
          client_id: CLIENT,
          client_secret: SECRET,
          redirect_uris: [redirect],
          grant_types: ["authorization_code"],
          response_types: ["code"],
        },
      ],
      // As the standard has it, what scopes ask for is in userinfo and not in the token.
      claims: { openid: ["sub"], profile: ["name"], email: ["email"], roles: ["roles"] },
      scopes: ["openid", "profile", "email", "roles"],
      cookies: { keys: ["a key of this test"] },
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_, { uid }) => `/interaction/${uid}` },
      findAccount: (_, id) =>
        people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
      async loadExistingGrant({ oidc }) {
        const { clientId } = oidc.client;
        const grant = new oidc.provider.Grant({ clientId, accountId: oidc.session.accountId });
        grant.addOIDCScope("openid profile email roles");
        await grant.save();
        return grant;
      },
      jwks: newKeys(kid),
      pkce: { required: () => true },
      renderError(ctx, out) {
        ctx.type = "html";
        ctx.body = `<title>Provider</title><p>${out.error}: ${out.error_description}</p>`;
      },
    });
  }
  build("first");
  return {
    issuer,
    /** From now on it signs with another key. */
    rotate: () => build("second"),
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}
