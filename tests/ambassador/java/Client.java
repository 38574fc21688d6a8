import java.io.IOException;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.postgresql.PGConnection;

/** A session without a password: prepared statements, a batch in a transaction, a copy, and a cancel. */
public final class Client {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/scram?user=application&prepareThreshold=1";
        try (Connection connection = DriverManager.getConnection(url)) {
            System.out.println("user " + first(connection, "select current_user"));
            prepared(connection);
            batch(connection);
            copy(connection);
            cancel(connection);
            System.out.println("after " + first(connection, "select 1"));
        }
    }

    private static String first(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getString(1);
        }
    }

    /** One named statement at the server, used again and again. */
    private static void prepared(Connection connection) throws SQLException {
        long sum = 0;
        try (PreparedStatement statement = connection.prepareStatement("select ?::int")) {
            for (int n = 1; n <= 50; n++) {
                statement.setInt(1, n);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    sum += rows.getLong(1);
                }
            }
        }
        System.out.println("prepared " + sum);
    }

    private static void batch(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.execute("create temporary table numbers (n int)");
        }
        try (PreparedStatement statement = connection.prepareStatement("insert into numbers values (?)")) {
            for (int n = 0; n < 100; n++) {
                statement.setInt(1, n);
                statement.addBatch();
            }
            statement.executeBatch();
        }
        connection.commit();
        connection.setAutoCommit(true);
        System.out.println("batch " + first(connection, "select count(*) from numbers"));
    }

    private static void copy(Connection connection) throws SQLException, IOException {
        connection.unwrap(PGConnection.class).getCopyAPI()
            .copyIn("copy numbers from stdin", new StringReader("1\n2\n3\n"));
        System.out.println("copied " + (first(connection, "select count(*) - 100 from numbers")));
    }

    /** The driver asks for it over a connection of its own. */
    private static void cancel(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery("select pg_sleep(60)");
            System.out.println("not cancelled");
        } catch (SQLException error) {
            System.out.println("cancelled " + error.getSQLState());
        }
    }
}
