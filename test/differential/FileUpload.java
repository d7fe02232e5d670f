// Says what Apache Commons FileUpload, which servlet containers are built on,
// holds: FileUpload NAME...
import java.io.*;
import java.util.*;
import org.apache.commons.fileupload.*;
import org.apache.commons.fileupload.FileUploadBase;
import org.apache.commons.fileupload.disk.DiskFileItemFactory;

public class FileUpload {
    record Request(String type, byte[] body) implements UploadContext {
        public String getCharacterEncoding() { return null; }
        public String getContentType() { return type; }
        public int getContentLength() { return body.length; }
        public long contentLength() { return body.length; }
        public InputStream getInputStream() { return new ByteArrayInputStream(body); }
    }

    static String answer(Request r, String[] names) {
        Map<String, StringBuilder> found = new LinkedHashMap<>();
        String error = "";
        try {
            if (r.type() != null && FileUploadBase.isMultipartContent(r)) {
                var upload = new org.apache.commons.fileupload.FileUpload(new DiskFileItemFactory(1 << 20, null));
                for (FileItem item : upload.parseRequest(r)) {
                    if (item.isFormField() && Arrays.asList(names).contains(item.getFieldName())) {
                        var list = found.computeIfAbsent(item.getFieldName(), n -> new StringBuilder());
                        list.append(list.length() > 0 ? "," : "").append('"').append(HexFormat.of().formatHex(item.get())).append('"');
                    }
                }
            }
        } catch (Exception e) { // a parser that refuses finds nothing
            return "{\"error\":\"" + e.getClass().getSimpleName() + "\"}";
        }
        var out = new StringJoiner(",", "{\"body\":{", "}}");
        found.forEach((name, list) -> out.add("\"" + name + "\":[" + list + "]"));
        return out.toString();
    }

    public static void main(String[] names) throws IOException {
        var in = new DataInputStream(new BufferedInputStream(System.in));
        var out = new DataOutputStream(new BufferedOutputStream(System.out));
        for (;;) {
            int[] sizes = new int[3];
            try {
                for (int i = 0; i < 3; i++) sizes[i] = in.readInt();
            } catch (EOFException e) {
                return;
            }
            String type = sizes[0] < 0 ? null : new String(in.readNBytes(sizes[0]), "ISO-8859-1");
            in.readNBytes(sizes[1]); // the query is the container's
            byte[] text = answer(new Request(type, in.readNBytes(sizes[2])), names).getBytes("UTF-8");
            out.writeInt(text.length);
            out.write(text);
            out.flush();
        }
    }
}
