import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.UnrecoverableKeyException;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Loads every keystore of the certificates that are named, straight from the URL, and talks TLS
 * to itself with it, both sides showing their certificate. No file is written.
 *
 * TOKEN and PASSWORD are in the environment; arguments: the sidecar's URL, then NAME=ALGORITHM.
 */
public class Keystores {
    static String sidecar;
    static final String token = System.getenv("TOKEN");
    static final String password = System.getenv("PASSWORD");

    /** A keystore and the password that opens it. */
    record Loaded(KeyStore store, char[] password) {}

    public static void main(String[] arguments) throws Exception {
        sidecar = arguments[0];
        for (String argument : Arrays.copyOfRange(arguments, 1, arguments.length)) {
            String[] parts = argument.split("=");
            for (String[] format : new String[][] {
                    {"PKCS12", "p12", ""}, {"PKCS12", "p12", "?profile=legacy"}, {"JKS", "jks", ""}}) {
                check(parts[0], parts[1], format[0], format[1] + format[2]);
            }
        }
    }

    static void check(String name, String algorithm, String type, String form) throws Exception {
        for (String given : new String[] {password, null}) {
            Loaded keys = load(type, name + "/keystore." + form, given);
            Loaded trust = load(type, name + "/truststore." + form, given);
            holdsTheKey(keys, name, algorithm);
            holdsTheAuthority(trust, name, keys);
            talks(keys, trust);
        }
        for (String store : new String[] {"keystore.", "truststore."}) {
            refusesAnotherPassword(type, name + "/" + store + form);
        }
        System.out.println("ok " + name + " " + form);
    }

    /** Without a password of the caller's, the answer brings one. */
    static Loaded load(String type, String path, String given) throws Exception {
        HttpURLConnection answer = ask(path, given);
        String generated = answer.getHeaderField("Sidekey-Keystore-Password");
        that((generated == null) == (given != null), "one password, " + path);
        char[] chosen = (given != null ? given : generated).toCharArray();
        return new Loaded(read(type, answer, chosen), chosen);
    }

    static HttpURLConnection ask(String path, String given) throws Exception {
        URI uri = URI.create(sidecar + "/certificates/" + path);
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer " + token);
        if (given != null) {
            connection.setRequestProperty("Sidekey-Keystore-Password", given);
        }
        that(connection.getResponseCode() == 200, path + ": " + connection.getResponseCode());
        return connection;
    }

    static KeyStore read(String type, HttpURLConnection answer, char[] chosen) throws Exception {
        byte[] bytes;
        try (InputStream stream = answer.getInputStream()) {
            bytes = stream.readAllBytes();
        }
        // Java would take the one for the other.
        that((bytes[0] == (byte) 0xfe) == type.equals("JKS"), "it is a " + type);
        KeyStore store = KeyStore.getInstance(type);
        store.load(new ByteArrayInputStream(bytes), chosen);
        return store;
    }

    static void refusesAnotherPassword(String type, String path) throws Exception {
        try {
            read(type, ask(path, password), "another password".toCharArray());
        } catch (IOException refused) {
            that(refused.getCause() instanceof UnrecoverableKeyException, "its cause: " + refused);
            return;
        }
        throw new AssertionError(path + " opens with another password");
    }

    static void holdsTheKey(Loaded keys, String name, String algorithm) throws Exception {
        KeyStore store = keys.store();
        that(store.size() == 1 && store.isKeyEntry(name), "one key by its name");
        PrivateKey key = (PrivateKey) store.getKey(name, keys.password());
        that(key.getAlgorithm().equals(algorithm), key.getAlgorithm() + " is " + algorithm);
        X509Certificate[] chain = chain(store, name);
        for (int at = 0; at + 1 < chain.length; at++) {
            chain[at].verify(chain[at + 1].getPublicKey());
        }
        String signature = switch (algorithm) {
            case "EC" -> "SHA256withECDSA";
            case "RSA" -> "SHA256withRSA";
            default -> algorithm;
        };
        byte[] message = "message".getBytes(StandardCharsets.UTF_8);
        Signature signer = Signature.getInstance(signature);
        signer.initSign(key);
        signer.update(message);
        byte[] signed = signer.sign();
        signer.initVerify(chain[0]);
        signer.update(message);
        that(signer.verify(signed), "key and certificate belong together");
    }

    static void holdsTheAuthority(Loaded trust, String name, Loaded keys) throws Exception {
        KeyStore store = trust.store();
        that(store.size() == 1 && store.isCertificateEntry(name), "one trusted certificate");
        X509Certificate authority = (X509Certificate) store.getCertificate(name);
        that(authority.getBasicConstraints() >= 0, "an authority");
        X509Certificate[] chain = chain(keys.store(), name);
        chain[chain.length - 1].verify(authority.getPublicKey());
        authority.verify(authority.getPublicKey());
    }

    static X509Certificate[] chain(KeyStore store, String name) throws Exception {
        var chain = store.getCertificateChain(name);
        that(chain.length == 2, "leaf and intermediate, without the root: " + chain.length);
        return Arrays.copyOf(chain, chain.length, X509Certificate[].class);
    }

    /** A connection on which both sides have to show their certificate. */
    static void talks(Loaded keys, Loaded trust) throws Exception {
        KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        own.init(keys.store(), keys.password());
        TrustManagerFactory others = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        others.init(trust.store());
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(own.getKeyManagers(), others.getTrustManagers(), null);
        InetAddress loopback = InetAddress.getByName("127.0.0.1");
        try (SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0, 1, loopback)) {
            listener.setNeedClientAuth(true);
            CompletableFuture<String> served = CompletableFuture.supplyAsync(() -> serve(listener));
            SSLSocket client = (SSLSocket) context.getSocketFactory().createSocket(loopback, listener.getLocalPort());
            try (client) {
                client.setSoTimeout(20_000);
                var parameters = client.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                client.setSSLParameters(parameters);
                client.getOutputStream().write("hello".getBytes(StandardCharsets.UTF_8));
                client.shutdownOutput();
                String answer = new String(client.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                that(answer.equals("hello, you"), answer);
                showed(client.getSession(), keys);
            }
            that(served.get().equals("hello"), "the server heard it");
        }
    }

    static String serve(SSLServerSocket listener) {
        try (SSLSocket socket = (SSLSocket) listener.accept()) {
            socket.setSoTimeout(20_000);
            byte[] heard = socket.getInputStream().readAllBytes();
            that(socket.getSession().getPeerCertificates().length > 0, "a client's certificate");
            OutputStream out = socket.getOutputStream();
            out.write(heard);
            out.write(", you".getBytes(StandardCharsets.UTF_8));
            return new String(heard, StandardCharsets.UTF_8);
        } catch (Exception failed) {
            throw new IllegalStateException(failed);
        }
    }

    static void showed(SSLSession session, Loaded keys) throws Exception {
        String name = keys.store().aliases().nextElement();
        that(session.getPeerCertificates()[0].equals(keys.store().getCertificate(name)), "the leaf");
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
