import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.oauth2.sdk.AuthorizationGrant;
import com.nimbusds.oauth2.sdk.ClientCredentialsGrant;
import com.nimbusds.oauth2.sdk.Scope;
import com.nimbusds.oauth2.sdk.TokenErrorResponse;
import com.nimbusds.oauth2.sdk.TokenIntrospectionRequest;
import com.nimbusds.oauth2.sdk.TokenIntrospectionResponse;
import com.nimbusds.oauth2.sdk.TokenRequest;
import com.nimbusds.oauth2.sdk.TokenResponse;
import com.nimbusds.oauth2.sdk.TokenRevocationRequest;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.ClientAuthentication;
import com.nimbusds.oauth2.sdk.auth.ClientSecretBasic;
import com.nimbusds.oauth2.sdk.auth.ClientSecretPost;
import com.nimbusds.oauth2.sdk.auth.JWTAuthenticationClaimsSet;
import com.nimbusds.oauth2.sdk.auth.PrivateKeyJWT;
import com.nimbusds.oauth2.sdk.auth.Secret;
import com.nimbusds.oauth2.sdk.dpop.DPoPProofFactory;
import com.nimbusds.oauth2.sdk.dpop.DefaultDPoPProofFactory;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.http.HTTPResponse;
import com.nimbusds.oauth2.sdk.id.Audience;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.oauth2.sdk.token.AccessToken;
import com.nimbusds.oauth2.sdk.token.BearerAccessToken;
import com.nimbusds.oauth2.sdk.token.TokenTypeURI;
import com.nimbusds.oauth2.sdk.tokenexchange.TokenExchangeGrant;
import com.nimbusds.openid.connect.sdk.Nonce;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import java.net.URI;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** What the Nimbus OAuth SDK does with the issuer, by the name of the capability. */
final class Clients {
  private final Map<String, Object> job;
  private final AuthorizationServerMetadata metadata;

  Clients(Map<String, Object> job) throws Exception {
    this.job = job;
    metadata = AuthorizationServerMetadata.resolve(new Issuer((String) job.get("issuer")));
  }

  Map<String, Object> does(String capability) throws Exception {
    return switch (capability) {
      case "oauth_discovery" -> metadata.toJSONObject();
      case "openid_discovery" -> OIDCProviderMetadata.resolve(metadata.getIssuer()).toJSONObject();
      case "client_secret_basic" -> token(basic("worker")).toJSONObject();
      case "client_secret_post" -> token(new ClientSecretPost(id("worker"), secret("worker"))).toJSONObject();
      case "private_key_jwt" -> token(assertion()).toJSONObject();
      case "refusals" -> refusals();
      case "access_token" -> accessToken();
      case "introspection" -> introspection();
      case "revocation" -> revocation();
      case "token_exchange" -> exchange().toJSONObject();
      case "dpop" -> dpop();
      default -> throw new IllegalArgumentException(capability);
    };
  }

  private AccessToken token(ClientAuthentication who) throws Exception {
    return token(who, new ClientCredentialsGrant(), "audience");
  }

  private AccessToken token(ClientAuthentication who, AuthorizationGrant grant, String resource) throws Exception {
    return given(send(who, grant, resource, null));
  }

  private static AccessToken given(TokenResponse response) {
    if (response instanceof TokenErrorResponse refusal) {
      throw new IllegalStateException(refusal.getErrorObject().toJSONObject().toString());
    }
    return response.toSuccessResponse().getTokens().getAccessToken();
  }

  private TokenResponse send(ClientAuthentication who, AuthorizationGrant grant, String resource, Scope scope)
      throws Exception {
    return TokenResponse.parse(request(who, grant, resource, scope).toHTTPRequest().send());
  }

  private TokenRequest request(ClientAuthentication who, AuthorizationGrant grant, String resource, Scope scope) {
    return new TokenRequest.Builder(metadata.getTokenEndpointURI(), who, grant)
        .scope(scope)
        .resource(URI.create((String) job.get(resource)))
        .build();
  }

  private Map<String, Object> refusals() throws Exception {
    Secret wrong = new Secret("wrong");
    Map<String, Object> output = new LinkedHashMap<>();
    output.put("basic", refused(new ClientSecretBasic(id("worker"), wrong), null));
    output.put("post", refused(new ClientSecretPost(id("worker"), wrong), null));
    output.put("scope", refused(basic("worker"), new Scope("payroll.destroy")));
    return output;
  }

  private Map<String, Object> refused(ClientAuthentication who, Scope scope) throws Exception {
    TokenResponse response = send(who, new ClientCredentialsGrant(), "audience", scope);
    var error = response.toErrorResponse().getErrorObject();
    return Map.of("status", error.getHTTPStatusCode(), "error", error.getCode());
  }

  private Map<String, Object> accessToken() throws Exception {
    JWKSource<SecurityContext> keys = JWKSourceBuilder.create(metadata.getJWKSetURI().toURL()).build();
    Map<String, Object> tokens = JSONObjectUtils.getJSONObject(job, "tokens");
    Map<String, Object> output = new LinkedHashMap<>();
    for (var each : JSONObjectUtils.getJSONObject(job, "algorithms").entrySet()) {
      var processor = new DefaultJWTProcessor<SecurityContext>();
      processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
      processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.parse(each.getKey()), keys));
      var exactly = new JWTClaimsSet.Builder().issuer((String) job.get("issuer")).build();
      Set<String> required = Set.of("sub", "client_id", "iat", "exp", "jti");
      processor.setJWTClaimsSetVerifier(
          new DefaultJWTClaimsVerifier<>((String) each.getValue(), exactly, required));
      try {
        output.put(each.getKey(), processor.process((String) tokens.get(each.getKey()), null).toJSONObject());
      } catch (BadJOSEException | JOSEException error) {
        output.put(each.getKey(), Map.of("error", error.toString()));
      }
    }
    return output;
  }

  private Map<String, Object> introspection() throws Exception {
    AccessToken token = token(basic("worker"));
    return Map.of("active", introspect(token), "unknown", introspect(new BearerAccessToken("unknown")));
  }

  private Map<String, Object> introspect(AccessToken token) throws Exception {
    var request = new TokenIntrospectionRequest(metadata.getIntrospectionEndpointURI(), basic("server"), token);
    return TokenIntrospectionResponse.parse(request.toHTTPRequest().send()).toSuccessResponse().toJSONObject();
  }

  private Map<String, Object> revocation() throws Exception {
    AccessToken token = token(basic("worker"));
    for (AccessToken each : new AccessToken[] {token, new BearerAccessToken("unknown")}) {
      var request = new TokenRevocationRequest(metadata.getRevocationEndpointURI(), basic("worker"), each);
      request.toHTTPRequest().send().ensureStatusCode(200);
    }
    return Map.of("access_token", token.getValue());
  }

  private AccessToken exchange() throws Exception {
    AccessToken subject = token(basic("worker"));
    return token(basic("server"), new TokenExchangeGrant(subject, TokenTypeURI.ACCESS_TOKEN), "target");
  }

  private Map<String, Object> dpop() throws Exception {
    ECKey key = new ECKeyGenerator(Curve.P_256).generate();
    DPoPProofFactory proofs = new DefaultDPoPProofFactory(key, JWSAlgorithm.ES256);
    HTTPResponse response = sendWithProof(proofs, null);
    if (response.getStatusCode() == 400 && response.getDPoPNonce() != null) {
      response = sendWithProof(proofs, response.getDPoPNonce());
    }
    Map<String, Object> output = given(TokenResponse.parse(response)).toJSONObject();
    output.put("jkt", key.computeThumbprint().toString());
    output.put("algorithms", metadata.getDPoPJWSAlgs().stream().map(JWSAlgorithm::getName).toList());
    return output;
  }

  private HTTPResponse sendWithProof(DPoPProofFactory proofs, Nonce nonce) throws Exception {
    HTTPRequest request = request(basic("worker"), new ClientCredentialsGrant(), "audience", null).toHTTPRequest();
    URI endpoint = metadata.getTokenEndpointURI();
    request.setDPoP(nonce == null ? proofs.createDPoPJWT("POST", endpoint) : proofs.createDPoPJWT("POST", endpoint, nonce));
    return request.send();
  }

  private ClientAuthentication assertion() throws Exception {
    ECKey key = ECKey.parse(JSONObjectUtils.getJSONObject(who("assertion"), "jwk"));
    var claims = new JWTAuthenticationClaimsSet(id("assertion"), new Audience((String) job.get("issuer")));
    return new PrivateKeyJWT(claims, JWSAlgorithm.ES256, key.toPrivateKey(), key.getKeyID(), null);
  }

  private ClientAuthentication basic(String name) throws Exception {
    return new ClientSecretBasic(id(name), secret(name));
  }

  private ClientID id(String name) throws Exception {
    return new ClientID((String) who(name).get("id"));
  }

  private Secret secret(String name) throws Exception {
    return new Secret((String) who(name).get("secret"));
  }

  private Map<String, Object> who(String name) throws Exception {
    return JSONObjectUtils.getJSONObject(JSONObjectUtils.getJSONObject(job, "clients"), name);
  }
}
