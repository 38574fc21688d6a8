import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.security.KeyStore;
import java.security.NoSuchAlgorithmException;
import java.security.Provider;
import java.security.Security;
import javax.crypto.Mac;

/**
 * Loads a certificate's keystores as Java 8 could before its update 301: without the MACs of
 * PKCS #12 by SHA-2, which came with that, and without PBES2, which its reader of keystores did
 * not know.
 */
public class OldJava {
    public static void main(String[] arguments) throws Exception {
        Provider all = Security.getProvider("SunJCE");
        Security.removeProvider(all.getName());
        Security.addProvider(new Before301(all));
        lacks("HmacPBESHA256");
        String url = arguments[0] + "/certificates/" + arguments[1];
        open("PKCS12", url + "/keystore.p12?profile=legacy", arguments[1]);
        System.out.println("legacy opens");
        open("JKS", url + "/keystore.jks", arguments[1]);
        System.out.println("JKS opens");
        try {
            open("PKCS12", url + "/keystore.p12", arguments[1]);
        } catch (IOException refused) {
            if (refused.getMessage().contains("PBESHA256") || refused.getMessage().contains("PBES2")) {
                System.out.println("modern does not open");
                return;
            }
            throw refused;
        }
        throw new AssertionError("the modern profile opens");
    }

    static void open(String type, String url, String name) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer " + System.getenv("TOKEN"));
        char[] password = System.getenv("PASSWORD").toCharArray();
        connection.setRequestProperty("Sidekey-Keystore-Password", new String(password));
        KeyStore store = KeyStore.getInstance(type);
        try (InputStream stream = connection.getInputStream()) {
            store.load(stream, password);
        }
        if (!store.isKeyEntry(name) || store.getKey(name, password) == null) {
            throw new AssertionError("no key in " + url);
        }
    }

    static void lacks(String algorithm) {
        try {
            Mac.getInstance(algorithm);
        } catch (NoSuchAlgorithmException gone) {
            return;
        }
        throw new AssertionError(algorithm + " is still there");
    }

    /** The services of a provider but for those that came later. */
    static final class Before301 extends Provider {
        private final Provider all;

        Before301(Provider all) {
            super("Before301", "1", "what Java 8 had");
            this.all = all;
        }

        @Override
        public synchronized Service getService(String type, String algorithm) {
            String name = algorithm.toUpperCase();
            boolean later = name.startsWith("HMACPBESHA") && !name.equals("HMACPBESHA1")
                    || name.startsWith("PBES2") || name.startsWith("PBEWITHHMACSHA")
                    || name.equals("1.2.840.113549.1.5.13");
            Service service = later ? null : all.getService(type, algorithm);
            return service == null ? null : new Passed(this, service);
        }
    }

    /** A service of another provider. */
    static final class Passed extends Provider.Service {
        private final Provider.Service service;

        Passed(Provider provider, Provider.Service service) {
            super(provider, service.getType(), service.getAlgorithm(), service.getClassName(), null, null);
            this.service = service;
        }

        @Override
        public Object newInstance(Object parameter) throws NoSuchAlgorithmException {
            return service.newInstance(parameter);
        }

        @Override
        public boolean supportsParameter(Object parameter) {
            return service.supportsParameter(parameter);
        }
    }
}
