import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.JWSObject;
import com.nimbusds.jose.JWSSigner;
import com.nimbusds.jose.Payload;
import com.nimbusds.jose.crypto.Ed25519Signer;
import com.nimbusds.jose.crypto.factories.DefaultJWSSignerFactory;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.OctetKeyPair;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.OctetKeyPairGenerator;
import com.nimbusds.jose.jwk.gen.OctetSequenceKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.util.JSONObjectUtils;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Keys made and exported by Nimbus; a payload is signed as the text that it is, good JSON or not. */
final class Signing {
  private Signing() {}

  static Map<String, Object> sign(Map<String, Object> given) throws Exception {
    Map<String, JWK> made = new LinkedHashMap<>();
    List<JWK> published = new ArrayList<>();
    for (Map<String, Object> each : Interop.objects(given, "keys")) {
      String kid = (String) each.get("kid");
      JWK key = generate((String) each.get("alg"), kid);
      made.put((String) each.get("name"), key);
      if (kid != null) published.add(key.toPublicJWK());
    }
    Map<String, Object> tokens = new LinkedHashMap<>();
    for (Map<String, Object> each : Interop.objects(given, "tokens")) {
      Map<String, Object> value;
      try {
        value = Map.of("token", compact(made.get((String) each.get("key")), each));
      } catch (Exception error) {
        value = Map.of("error", error.toString());
      }
      tokens.put((String) each.get("name"), value);
    }
    return Map.of("jwks", new JWKSet(published).toJSONObject(), "tokens", tokens);
  }

  private static JWK generate(String algorithm, String kid) throws Exception {
    JWSAlgorithm alg = JWSAlgorithm.parse(algorithm);
    return switch (algorithm) {
      case "ES256" -> new ECKeyGenerator(Curve.P_256).algorithm(alg).keyUse(KeyUse.SIGNATURE).keyID(kid).generate();
      case "ES384" -> new ECKeyGenerator(Curve.P_384).algorithm(alg).keyUse(KeyUse.SIGNATURE).keyID(kid).generate();
      case "RS256", "PS256" -> new RSAKeyGenerator(2048).algorithm(alg).keyUse(KeyUse.SIGNATURE).keyID(kid).generate();
      case "EdDSA" ->
          new OctetKeyPairGenerator(Curve.Ed25519).algorithm(alg).keyUse(KeyUse.SIGNATURE).keyID(kid).generate();
      case "HS256" -> new OctetSequenceKeyGenerator(256).generate();
      default -> throw new IllegalArgumentException("no keys for " + algorithm + " here");
    };
  }

  private static String compact(JWK key, Map<String, Object> token) throws Exception {
    JWSHeader header = JWSHeader.parse(JSONObjectUtils.getJSONObject(token, "header"));
    JWSObject signed = new JWSObject(header, new Payload((String) token.get("payload")));
    JWSSigner signer =
        key instanceof OctetKeyPair pair
            ? new Ed25519Signer(pair)
            : new DefaultJWSSignerFactory().createJWSSigner(key, header.getAlgorithm());
    signed.sign(signer);
    return signed.serialize();
  }
}
