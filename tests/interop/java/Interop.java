import com.nimbusds.jose.util.JSONObjectUtils;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One process for Nimbus: a job as JSON on standard input, the results as JSON on standard output. */
final class Interop {
  private Interop() {}

  public static void main(String[] arguments) throws Exception {
    Map<String, Object> job = JSONObjectUtils.parse(new String(System.in.readAllBytes(), StandardCharsets.UTF_8));
    Map<String, Object> answer = new LinkedHashMap<>();
    List<Object> results = new ArrayList<>();
    for (Map<String, Object> task : objects(job, "tasks")) {
      Map<String, Object> result = new LinkedHashMap<>(task);
      try {
        result.put("output", new Clients(job).does((String) task.get("capability")));
      } catch (Exception error) {
        result.put("error", error.toString());
      }
      results.add(result);
    }
    answer.put("results", results);
    if (job.containsKey("sign")) {
      answer.put("signed", Signing.sign(JSONObjectUtils.getJSONObject(job, "sign")));
    }
    System.out.print(JSONObjectUtils.toJSONString(answer));
  }

  static List<Map<String, Object>> objects(Map<String, Object> from, String name) throws Exception {
    Map<String, Object>[] found = JSONObjectUtils.getJSONObjectArray(from, name);
    return found == null ? List.of() : List.of(found);
  }
}
