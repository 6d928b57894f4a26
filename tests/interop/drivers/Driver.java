import com.nimbusds.jose.util.JSONObjectUtils;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.util.Map;

/** Drives MountedSecret of docs/call/java.md: a command on each line of standard input, an answer on one line of output. */
final class Driver {
  private Driver() {}

  public static void main(String[] arguments) throws Exception {
    var secret = new MountedSecret(Path.of(arguments[0]), URI.create(arguments[1]));
    var input = new BufferedReader(new InputStreamReader(System.in));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      Map<String, Object> found;
      try {
        found = answer(secret, line);
      } catch (Exception error) {
        found = Map.of("error", error.toString());
      }
      System.out.println(JSONObjectUtils.toJSONString(found));
    }
  }

  private static Map<String, Object> answer(MountedSecret secret, String line) throws Exception {
    if (line.equals("new")) return Map.of("token", secret.requestToken().getValue());
    var url = URI.create(line.substring(line.indexOf(' ') + 1));
    var request = HttpRequest.newBuilder(url).header("Authorization", "Bearer " + secret.token()).build();
    var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
    return Map.of("status", response.statusCode(), "body", response.body());
  }
}
